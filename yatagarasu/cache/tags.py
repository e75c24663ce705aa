"""Tags: words that an object can be purged by, as the origin sends them with it."""

from yatagarasu.http.headers import Headers

# Varnish's and Fastly's field, and the same as S3 can store it: user metadata.
_FIELDS = ("surrogate-key", "x-amz-meta-surrogate-key")


def tags_of(headers: Headers) -> tuple[str, ...]:
    """The distinct words of a response's tag fields, in their order."""
    words: dict[str, None] = {}
    for name in _FIELDS:
        text = headers.get(name)
        if text is not None:
            words.update(dict.fromkeys(text.replace(",", " ").split()))
    return tuple(words)
