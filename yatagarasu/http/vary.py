"""Vary: which request fields select among stored responses (RFC 9111, section 4.1)."""

from collections.abc import Sequence

from yatagarasu.http.headers import Headers

Selecting = tuple[tuple[str, str | None], ...]


def varying_names(headers: Headers) -> tuple[str, ...] | None:
    """Lower-case field names a response varies by, sorted; () for none, None for `*`."""
    vary = headers.get("vary")
    if vary is None:
        return ()
    names = {name.strip().lower() for name in vary.split(",")} - {""}
    return None if "*" in names else tuple(sorted(names))


def selecting_values(names: Sequence[str] | None, request_headers: Headers) -> Selecting:
    """The request's values of `names`, white space normalised, None where a field is absent."""
    return tuple((name, _normalise(request_headers.get(name))) for name in names or ())


def _normalise(value: str | None) -> str | None:
    if value is None:
        return None
    return ", ".join(" ".join(part.split()) for part in value.split(",") if part.strip())


def matches(selecting: Selecting, request_headers: Headers) -> bool:
    """Whether a request has the values a stored response was selected by."""
    return all(_normalise(request_headers.get(name)) == value for name, value in selecting)
