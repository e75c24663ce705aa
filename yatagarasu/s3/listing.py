"""ListObjectsV2: requests and pages, and a listing scoped to a key prefix.

AWS: ListObjectsV2, request and response syntax.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote_plus, urlencode
from xml.etree import ElementTree
from xml.parsers import expat
from xml.sax.saxutils import escape

from yatagarasu.errors import BadRequest, OriginBroken
from yatagarasu.http.numbers import parse_count

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_PASSED = frozenset(
    ("prefix", "delimiter", "max-keys", "continuation-token", "start-after", "encoding-type", "fetch-owner")
)
_MAX_KEYS = 1000
# S3 takes a 32-bit number, with its sign.
_LARGEST = 2**31 - 1
# S3's own pages are four deep; what writes XML recurses.
_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class ListRequest:
    """A ListObjectsV2 request; `max_keys` is 0 to 1,000."""

    prefix: str = ""
    delimiter: str = ""
    max_keys: int = _MAX_KEYS
    continuation_token: str | None = None
    start_after: str = ""
    encodes_urls: bool = False

    @classmethod
    def parse(cls, query: str) -> "ListRequest":
        """Read a query. Raises BadRequest where it is no ListObjectsV2 request."""
        values = dict(parse_qsl(query, keep_blank_values=True))
        if values.get("list-type") != "2":
            raise BadRequest("only ListObjectsV2 (list-type=2) is served")
        max_keys = parse_count(values.get("max-keys", str(_MAX_KEYS)))
        if max_keys is None or max_keys > _LARGEST:
            raise BadRequest("max-keys is not a number")
        return cls(
            values.get("prefix", ""),
            values.get("delimiter", ""),
            min(max_keys, _MAX_KEYS),
            values.get("continuation-token"),
            values.get("start-after", ""),
            values.get("encoding-type") == "url",
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a page: `size` bytes, `etag` with its quotes, `last_modified` as ISO 8601."""

    key: str
    size: int
    etag: str
    last_modified: str


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page."""

    keys: Sequence[Listed] = ()
    common_prefixes: Sequence[str] = ()
    next_token: str | None = None
    request: ListRequest = field(default_factory=ListRequest)


def render_list_v2(bucket: str, page: ListPage) -> bytes:
    """A page as S3 writes it."""
    request = page.request

    def text(value: str) -> str:
        return escape(quote(value, safe="/-._~") if request.encodes_urls else value)

    parts = [
        f"<Name>{escape(bucket)}</Name><Prefix>{text(request.prefix)}</Prefix>",
        f"<KeyCount>{len(page.keys) + len(page.common_prefixes)}</KeyCount><MaxKeys>{request.max_keys}</MaxKeys>",
    ]
    if request.delimiter:
        parts.append(f"<Delimiter>{text(request.delimiter)}</Delimiter>")
    if request.encodes_urls:
        parts.append("<EncodingType>url</EncodingType>")
    if request.start_after:
        parts.append(f"<StartAfter>{text(request.start_after)}</StartAfter>")
    if request.continuation_token is not None:
        parts.append(f"<ContinuationToken>{escape(request.continuation_token)}</ContinuationToken>")
    if page.next_token is not None:
        parts.append(f"<NextContinuationToken>{escape(page.next_token)}</NextContinuationToken>")
    parts.append(f"<IsTruncated>{'true' if page.next_token is not None else 'false'}</IsTruncated>")
    parts.extend(
        f"<Contents><Key>{text(item.key)}</Key><LastModified>{item.last_modified}</LastModified>"
        f"<ETag>{escape(item.etag)}</ETag><Size>{item.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for item in page.keys
    )
    parts.extend(f"<CommonPrefixes><Prefix>{text(prefix)}</Prefix></CommonPrefixes>" for prefix in page.common_prefixes)
    body = "".join(parts)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f'{head}<ListBucketResult xmlns="{NAMESPACE}">{body}</ListBucketResult>'.encode()


def parse_list_v2(body: bytes) -> ListPage:
    """Read a page. Raises OriginBroken where it is none."""
    root = _root(body)
    is_encoded = _text(root, "EncodingType") == "url"

    def decode(value: str) -> str:
        return unquote_plus(value) if is_encoded else value

    keys = [
        Listed(
            decode(_text(item, "Key")),
            _size(_text(item, "Size") or "0"),
            _text(item, "ETag"),
            _text(item, "LastModified"),
        )
        for item in _all(root, "Contents")
    ]
    if not all(item.key for item in keys):
        raise OriginBroken("a listing with an object that has no key")
    prefixes = [decode(_text(item, "Prefix")) for item in _all(root, "CommonPrefixes")]
    token = _text(root, "NextContinuationToken") or None
    return ListPage(keys, prefixes, token)


def scoped_list_query(query: str, key_prefix: str) -> str:
    """A client's listing query as the origin gets it: nothing outside `key_prefix` can be asked for."""
    ListRequest.parse(query)
    values = {name: value for name, value in parse_qsl(query, keep_blank_values=True) if name in _PASSED}
    values["prefix"] = key_prefix + values.get("prefix", "")
    if "start-after" in values:
        values["start-after"] = key_prefix + values["start-after"]
    if not values["prefix"]:
        del values["prefix"]
    values["list-type"] = "2"
    return urlencode(sorted(values.items()), quote_via=quote, safe="-._~")


def unscope_listing(body: bytes, bucket_name: str, key_prefix: str) -> bytes:
    """An origin's page as the client gets it: our bucket name, and keys without `key_prefix`.

    An object that is called as the prefix is (what consoles make for a folder) has no name here: it is left out.

    Raises:
        OriginBroken: no page, or one with a key outside the prefix.
    """
    root = _root(body)
    is_encoded = _text(root, "EncodingType") == "url"
    echoed = set(root)  # What was asked for, said back; everything deeper is content.
    for element in root.iter():
        name = element.tag.rpartition("}")[2]
        if name == "Name":
            element.text = bucket_name
        elif name in ("Key", "Prefix", "StartAfter"):
            # Origins differ in what they encode, and a space is "+" to most: only decoded text can be compared.
            text = unquote_plus(element.text or "") if is_encoded else element.text or ""
            if len(element) or not text.startswith(key_prefix):
                if element not in echoed:
                    raise OriginBroken("a listing has a key outside the prefix that was asked for")
                continue
            rest = text[len(key_prefix) :]
            element.text = quote(rest, safe="/-._~") if is_encoded else rest
    nameless = {item for item in _all(root, "Contents") if not _text(item, "Key")}
    root[:] = [item for item in root if item not in nameless]
    for count in _all(root, "KeyCount"):
        count.text = str(max(0, _size(count.text or "0") - len(nameless)))
    ElementTree.register_namespace("", NAMESPACE)
    xml: bytes = ElementTree.tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + xml


def _root(body: bytes) -> ElementTree.Element:
    parser = expat.ParserCreate()
    depth = 0

    def refuse(*_: object) -> None:
        raise ValueError("a document type has no place here")

    def start(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    try:
        parser.Parse(body, True)
        root = ElementTree.fromstring(body)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as exc:
        raise OriginBroken("a listing that is no XML") from exc
    if root.tag.rpartition("}")[2] != "ListBucketResult":
        raise OriginBroken("a listing that is none")
    return root


def _size(text: str) -> int:
    size = parse_count(text)
    if size is None:
        raise OriginBroken("a listing with a size that is none")
    return size


def _all(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [child for child in element if child.tag.rpartition("}")[2] == name]


def _text(element: ElementTree.Element, name: str) -> str:
    found = _all(element, name)
    return (found[0].text or "") if found else ""
