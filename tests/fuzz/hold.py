"""What a target says of an input that was misread."""


class Wrong(AssertionError):
    """An input was misread."""


def hold(holds: bool, text: str) -> None:
    """Raise Wrong where it does not hold."""
    if not holds:
        raise Wrong(text)
