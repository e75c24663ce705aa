"""Numbers as fields and documents write them: 1*DIGIT (RFC 9110, section 8.6), of a length that anything can hold."""

# Below 2**63, the largest offset of any file system; S3's largest objects have 14 digits.
MAX_DIGITS = 18


def parse_count(text: str | None) -> int | None:
    """A decimal number of at most MAX_DIGITS ASCII digits, 0 or more; None for anything else."""
    # Alone, `isdigit` takes "\u00b2" for a digit, and `int` does not.
    return int(text) if text is not None and len(text) <= MAX_DIGITS and text.isascii() and text.isdigit() else None
