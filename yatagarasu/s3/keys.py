"""Object keys and paths: percent-decoded once, then literal; encoded as S3's canonical URI has it.

AWS: "Creating object key names"; Signature Version 4, UriEncode.
"""

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

from yatagarasu.errors import BadRequest

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def decode_path(path: str) -> str:
    """The path with its escapes undone once.

    Raises:
        BadRequest: a broken escape, bytes that are not UTF-8, a control character, or a segment of dots only,
            which S3 allows and everything between it and the client resolves in its own way.
    """
    if "%" in path:
        if _BAD_ESCAPE.search(path):
            raise BadRequest("a broken percent escape in the path")
        try:
            path = unquote_to_bytes(path).decode("utf-8")
        except UnicodeDecodeError as exc:
            raise BadRequest("the path is not UTF-8") from exc
    if _CONTROL.search(path):
        raise BadRequest("a control character in the path")
    if "." in path and any(segment in (".", "..") for segment in path.split("/")):
        raise BadRequest("a path segment of dots only")
    return path


def encode_key(key: str) -> str:
    """A key as S3 has it in a canonical URI: unreserved characters and slashes stay, the rest is %XX."""
    return quote_from_bytes(key.encode("utf-8"), safe="/-._~")
