"""What a report may repeat of a config file: no secret, and nothing that moves a terminal's cursor.

Works on the text, not on what it means: a file with mistakes is what is shown. In doubt a value is hidden.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

Span = tuple[int, int]

# Shorter ones are words of our own messages as well.
_LEAST_SECRET = 6
_LONGEST_QUOTED = 100
# Keys of ours, without what joins their words.
_SECRET_KEYS = ("accesskey", "secretkey", "sessiontoken", "token")
_URL_KEYS = ("endpoint", "endpointurl", "url")

_WORD = re.compile(r"[A-Za-z0-9_-]+")
# What stands between a key and what is before it.
_EDGE = re.compile(r"[\n{,\[\]=:#]")
_LONGEST_KEY = 200
_HEADER = re.compile(r"^[ \t]*\[\[?([^\]\n]*)\]", re.MULTILINE)
_AFTER_WORD = re.compile(r"""["']?[ \t]*[=:]?[ \t]*""")

_LONG_STRING = r'"{3}(?:[^\\]|\\.)*?(?:"{3,5}|\Z)|' + r"'{3}.*?(?:'{3,5}|\Z)"
_STRING = re.compile(_LONG_STRING + r'|"(?:[^"\\\n]|\\.)*"?|' + r"'[^'\n]*'?", re.DOTALL)
_NESTED = re.compile(rf"""(?:{_STRING.pattern})|\#[^\n]*|[\[\]{{}}]|[^\[\]{{}}"'\#]+""", re.DOTALL)

# A value that only says where the secret is.
_INDIRECT = re.compile(r"""["']\$\{(?:[A-Za-z0-9_]+(?::-)?|file:[^}]*)\}["']""")
_VARIABLE = r"\$\{[A-Za-z0-9_]+\}"
_PLAIN_URL = rf"(?:[A-Za-z]+://)?(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._-]|{_VARIABLE})*)(?::(?:[0-9]*|{_VARIABLE}))?(?:/[^@:\\?#\n]*)?"
_HARMLESS_URL = re.compile(rf"""(["'])(?:{_PLAIN_URL}|\$\{{[A-Za-z0-9_]+:-{_PLAIN_URL}\}}|\$\{{file:[^}}]*\}})\1""")
_TAIL = re.compile(r"[ \t]*(?:[,\]}#\r\n]|\Z)")


def visible(text: str, *, keep: str = "") -> str:
    r"""Text with every character escaped that is not printable, those of `keep` aside: `\x1b`, `\u202e`.

    A byte that a file name could not decode (PEP 383) is shown as that byte: `\xff`.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep else _escaped(character) for character in text
    )


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def quoted(value: str) -> str:
    """A value as a message repeats it: in quotes, cut where it is long, without a URL's user and password."""
    _, at, rest = value.rpartition("@")
    text = f"***@{rest}" if at else value
    return repr(text if len(text) <= _LONGEST_QUOTED else text[:_LONGEST_QUOTED] + "...")


def without_users(text: str) -> str:
    """A message without the user and password of any URL in it."""
    pieces, pos = [], 0
    for start, stop in _users(text):
        pieces += [text[pos:start], "***"]
        pos = stop
    return "".join(pieces) + text[pos:]


def without(text: str, secrets: Sequence[str]) -> str:
    """A message without these secrets, however they are spelt in quotes."""
    for secret in secrets:
        for spelt in (secret, repr(secret)[1:-1]):
            text = text.replace(spelt, "***")
    return text


def secrets_in(data: Mapping[str, Any]) -> list[str]:
    """The secrets of a document that has been read, the longest first."""
    found = {secret for secret in _secrets(data, None) if len(secret) >= _LEAST_SECRET}
    return sorted(found, key=len, reverse=True)


def _secrets(value: Any, key: str | None) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _secrets(item, key if key is not None and _is_secret(key) else name)
    elif isinstance(value, list):
        for item in value:
            yield from _secrets(item, key)
    elif isinstance(value, str) and key is not None:
        if _is_secret(key):
            yield value
        elif "@" in value:
            yield from value.rpartition("@")[0].rpartition("//")[2].split(":")


@lru_cache(4096)
def _is_secret(name: str) -> bool:
    """Whether a key of this name, misspelt or another program's, may hold a secret."""
    plain = _plain(name)
    if len(plain) < 4 or plain == "access":
        return False
    return (
        any(part in plain for part in ("secret", "passw", "credential"))
        or plain.endswith(("token", "accesskey", "accesskeyid", "apikey"))
        or bool(get_close_matches(plain, _SECRET_KEYS, 1, 0.8))
    )


@lru_cache(4096)
def _is_url(name: str) -> bool:
    return bool(get_close_matches(_plain(name), _URL_KEYS, 1, 0.8))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name[:_LONGEST_KEY].lower())


def secret_spans(text: str, *, is_toml: bool) -> list[Span]:
    """Where secrets stand in a text: half-open, sorted and disjoint.

    Args:
        text: a config file.
        is_toml: it could be read. If not, whatever follows the name of a secret on its line is taken for one.
    """
    spans = [*_users(text), *_values(text), *_tables(text)]
    if not is_toml:
        spans += _tails(text)
    merged: list[Span] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        elif start < stop:
            merged.append((start, stop))
    return merged


def _users(text: str) -> Iterator[Span]:
    """What stands between `//` and the last `@` of its line, and `user:password` before any `@`."""
    start = text.find("//")
    while start >= 0:
        stop = _line_end(text, start)
        at = text.rfind("@", start, stop)
        if at > start:
            yield start + 2, at
        start = text.find("//", stop)
    start, at = 0, text.find("@")
    while at >= 0:
        start = max(start, *(text.rfind(mark, start, at) + 1 for mark in "\"' \t\n/"))
        if text.find(":", start, at) >= 0:
            yield start, at
        start, at = at + 1, text.find("@", at + 1)


def _values(text: str) -> Iterator[Span]:
    """Values of keys that hold a secret, or a URL that is not plainly one without."""
    edge = pos = 0
    while (found := _EDGE.search(text, pos)) is not None:
        begin, edge = max(edge, found.start() - _LONGEST_KEY), found.end()
        pos = edge
        if found[0] not in "=:":
            continue
        words = _WORD.findall(text, begin, found.start())
        shape = _INDIRECT if any(map(_is_secret, words)) else _HARMLESS_URL if any(map(_is_url, words)) else None
        if shape is not None:
            start = _past_blanks(text, pos)
            edge = pos = max(start, _value_end(text, start))
            if not shape.fullmatch(text, start, pos):
                yield start, pos


def _tables(text: str) -> Iterator[Span]:
    """What stands below a header that names a secret."""
    for header in _HEADER.finditer(text):
        if any(map(_is_secret, _WORD.findall(header[1]))):
            following = _HEADER.search(text, header.end())
            yield header.end(), following.start() if following else len(text)


def _tails(text: str) -> Iterator[Span]:
    """What follows the name of a secret on its line."""
    done = 0
    for word in _WORD.finditer(text):
        if word.start() >= done and _is_secret(word[0]):
            between = _AFTER_WORD.match(text, word.end())
            start = between.end() if between else word.end()
            done = _line_end(text, start)
            if not _INDIRECT.fullmatch(text, start, done):
                yield start, done


def _value_end(text: str, start: int) -> int:
    """Where a value ends: an unfinished one, or one with a tail, with its line; a long or nested one with the text."""
    end = start
    if text.startswith(("[", "{"), start):
        depth = 0
        while (token := _NESTED.match(text, end)) is not None:
            end = token.end()
            depth += (token[0] in ("[", "{")) - (token[0] in ("]", "}"))
            if depth == 0:
                break
    elif (string := _STRING.match(text, start)) is not None:
        end = string.end()
    else:
        return _line_end(text, start)
    return end if _TAIL.match(text, end) else _line_end(text, end)


def _past_blanks(text: str, pos: int) -> int:
    while text[pos : pos + 1] in (" ", "\t"):
        pos += 1
    return pos


def _line_end(text: str, pos: int) -> int:
    end = text.find("\n", pos)
    end = len(text) if end < 0 else end
    return end - 1 if end > pos and text[end - 1] == "\r" else end
