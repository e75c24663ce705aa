"""Query parameters of object requests: which go to the origin, and so into the cache key.

AWS: GetObject, "URI Request Parameters"; sub-resources of objects and buckets.
"""

from urllib.parse import quote, unquote

from yatagarasu.errors import BadRequest

# GetObject's own parameters. response-* are refused by S3 without a signature.
_OBJECT = frozenset(("versionId", "partNumber"))
_RESPONSE = frozenset(
    (
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
    )
)
# A signature of ours must never be lent to these: they read or change something other than the object. Lower-case:
# not every S3 minds the case.
_SUBRESOURCES = frozenset(
    name.lower()
    for name in (
        "accelerate", "acl", "analytics", "annotation", "attributes", "cors", "delete", "encryption",
        "intelligent-tiering", "inventory", "legal-hold", "lifecycle", "list-type", "location", "logging",
        "metadataTable", "metrics", "notification", "object-lock", "ownershipControls", "policy",
        "policyStatus", "publicAccessBlock", "renameObject", "replication", "requestPayment", "restore",
        "retention", "select", "select-type", "session", "tagging", "torrent", "uploadId", "uploads",
        "versioning", "versions", "website",
    )
)  # fmt: skip
_SIGNING = frozenset(("awsaccesskeyid", "signature", "expires"))


def select_query(query: str, mode: str, *, signed: bool) -> str:
    """The canonical query (sorted, encoded anew) that is forwarded and keyed by.

    Args:
        query: the client's, without "?".
        mode: "s3" keeps GetObject's own parameters and drops the rest; "all" keeps everything.
        signed: whether we sign requests there.

    Raises:
        BadRequest: in mode "all", a sub-resource of a signed origin; in either, a parameter that is not UTF-8
            or one of GetObject's own given twice.
    """
    if not query:
        return ""
    kept: list[tuple[str, str]] = []
    for part in query.split("&"):
        raw_name, equals, raw_value = part.partition("=")
        try:
            name = unquote(raw_name.replace("+", " "), errors="strict")
            value = unquote(raw_value.replace("+", " "), errors="strict")
        except UnicodeDecodeError as exc:
            raise BadRequest("the query is not UTF-8") from exc
        lower = name.lower()
        if mode != "all":
            if name in _OBJECT or (name in _RESPONSE and signed):
                kept.append((name, value))
            continue
        is_signing = lower.startswith("x-amz-") or lower in _SIGNING
        if signed and lower in _SUBRESOURCES:
            raise BadRequest(f"the sub-resource {name} is not served")
        if not part or (signed and is_signing):
            continue
        if name in _RESPONSE and not signed:
            continue
        kept.append((name, value if equals else ""))
    names = [name for name, _ in kept if name in _OBJECT]
    if len(names) != len(set(names)):
        raise BadRequest("a parameter is given twice")
    return "&".join(f"{_encode(name)}={_encode(value)}" for name, value in sorted(kept))


def _encode(text: str) -> str:
    return quote(text, safe="-._~")
