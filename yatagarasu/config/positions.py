"""Where each key of a TOML text stands: key path -> (line, column), both from 1.

TOML parsers do not tell. This scanner reads text that tomli has accepted, so it need not judge, only keep
count: headers, dotted keys, inline tables, arrays and strings of every kind.
"""

import re
from bisect import bisect_right
from contextlib import suppress

Path = tuple[str | int, ...]
Position = tuple[int, int]


def dotted(path: Path) -> str:
    """A path as people write it: `buckets[0].s3.region`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


# Our own keys are five deep; whoever walks a document may recurse this far.
_DEEPEST = 32
# What Python reads as a decimal number unless it is told otherwise.
_MOST_DIGITS = 4300

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NUMBER = re.compile(r"[+-]?([0-9_]+)")


class _TooDeep(Exception):
    pass


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.keys: dict[Path, Position] = {}
        self.values: dict[Path, Position] = {}
        self.arrays: dict[Path, int] = {}
        self.long_number: Position | None = None

    def at(self, pos: int) -> Position:
        line = bisect_right(self.starts, pos)
        return line, pos - self.starts[line - 1] + 1

    def place(self, path: Path, start: int) -> None:
        """Note where a key begins. Raises _TooDeep, with where."""
        if len(path) > _DEEPEST:
            raise _TooDeep(self.at(start))
        self.keys.setdefault(path, self.at(start))

    def peek(self) -> str:
        return self.text[self.pos : self.pos + 1]

    def skip(self, *, lines: bool) -> None:
        """Pass over white space and comments, and line ends where `lines`."""
        while self.pos < len(self.text):
            character = self.text[self.pos]
            if character == "#":
                end = self.text.find("\n", self.pos)
                self.pos = len(self.text) if end < 0 else end
            elif character in " \t\r" or (lines and character == "\n"):
                self.pos += 1
            else:
                return

    def string(self) -> str:
        quote = self.peek()
        long = quote * 3
        if self.text.startswith(long, self.pos):
            start = self.pos + 3
            end = start
            while True:
                end = self.text.index(long, end)
                slashes = 0
                while quote == '"' and self.text[end - 1 - slashes] == "\\":
                    slashes += 1
                if slashes % 2 == 0:
                    break
                end += 1
            while self.text.startswith(quote, end + 3):
                end += 1
            self.pos = end + 3
            return self.text[start:end]
        end = start = self.pos + 1
        while self.text[end] != quote:
            end += 2 if quote == '"' and self.text[end] == "\\" else 1
        self.pos = end + 1
        return self.text[start:end]

    def key(self) -> list[tuple[str, int]]:
        """A dotted key: parts with where each begins."""
        parts: list[tuple[str, int]] = []
        while True:
            self.skip(lines=False)
            start = self.pos
            if self.peek() in ("'", '"'):
                parts.append((self.string(), start))
            else:
                match = _BARE.match(self.text, self.pos)
                if match is None:
                    return parts
                self.pos = match.end()
                parts.append((match[0], start))
            self.skip(lines=False)
            if self.peek() != ".":
                return parts
            self.pos += 1

    def pair(self, base: Path) -> None:
        path = base
        for part, start in self.key():
            path = (*path, part)
            self.place(path, start)
        self.skip(lines=False)
        self.pos += 1  # "="
        self.skip(lines=False)
        self.value(path)

    def value(self, path: Path) -> None:
        self.values[path] = self.at(self.pos)
        character = self.peek()
        if character in ("'", '"'):
            self.string()
        elif character == "[":
            self.pos += 1
            for index in range(len(self.text)):
                self.skip(lines=True)
                if self.peek() == "]":
                    break
                self.place((*path, index), self.pos)
                self.value((*path, index))
                self.skip(lines=True)
                if self.peek() == ",":
                    self.pos += 1
            self.pos += 1
        elif character == "{":
            self.pos += 1
            while True:
                self.skip(lines=True)
                if self.peek() in ("}", ""):
                    break
                self.pair(path)
                self.skip(lines=True)
                if self.peek() == ",":
                    self.pos += 1
            self.pos += 1
        else:
            number = _NUMBER.match(self.text, self.pos)
            if number is not None and len(number[1]) > _MOST_DIGITS and self.long_number is None:
                self.long_number = self.at(self.pos)
            while self.pos < len(self.text) and self.text[self.pos] not in ",]}#\n":
                self.pos += 1

    def header(self) -> Path:
        is_array = self.text.startswith("[[", self.pos)
        self.pos += 2 if is_array else 1
        path: Path = ()
        parts = self.key()
        for number, (part, start) in enumerate(parts):
            path = (*path, part)
            self.place(path, start)
            is_last = number == len(parts) - 1
            if is_last and is_array:
                self.arrays[path] = self.arrays.get(path, -1) + 1
            if path in self.arrays:
                path = (*path, self.arrays[path])
                self.place(path, start)
        self.pos += 2 if is_array else 1
        return path

    def run(self) -> None:
        base: Path = ()
        while True:
            self.skip(lines=True)
            if self.pos >= len(self.text):
                return
            if self.peek() == "[":
                base = self.header()
            else:
                self.pair(base)


class Positions:
    """Positions of one text; a path that is not there is answered with the nearest table around it.

    Attributes:
        too_deep: where a key is nested deeper than anything may be; nothing is known of what follows.
        long_number: where the first number stands that has more digits than Python reads.
    """

    def __init__(self, text: str) -> None:
        scanner = _Scanner(text)
        self.too_deep: Position | None = None
        # Not TOML? What was found up to there still helps.
        with suppress(IndexError, ValueError):
            try:
                scanner.run()
            except _TooDeep as exc:
                self.too_deep = exc.args[0]
        self.long_number = scanner.long_number
        self._keys = scanner.keys
        self._values = scanner.values

    def key(self, path: Path) -> Position:
        """Where the key of `path` begins."""
        while path:
            found = self._keys.get(path)
            if found is not None:
                return found
            path = path[:-1]
        return 1, 1

    def value(self, path: Path) -> Position:
        """Where the value of `path` begins, or its key where there is none."""
        return self._values.get(path) or self.key(path)
