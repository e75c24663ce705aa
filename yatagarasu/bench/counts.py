"""What the embedded origin was asked, by key, and added up over keys that belong together."""

import json
from dataclasses import asdict, dataclass
from typing import Self
from urllib.parse import parse_qs, urlsplit

# About 200 bytes each; past that, those asked for first are forgotten.
_MAX_KEYS = 1_000_000


@dataclass(frozen=True, slots=True)
class OriginCounts:
    """Requests and body bytes of `keys` keys; `most` is how many requests the most wanted one had."""

    requests: int = 0
    body_bytes: int = 0
    keys: int = 0
    most: int = 0

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """What `KeyCounts.render` wrote. Raises ValueError or TypeError where it is something else."""
        return cls(**json.loads(text))


class KeyCounts:
    """Requests and body bytes by key."""

    def __init__(self) -> None:
        self._by_key: dict[str, list[int]] = {}

    def add_request(self, key: str) -> None:
        """Count a request."""
        found = self._by_key.get(key)
        if found is not None:
            found[0] += 1
            return
        if len(self._by_key) >= _MAX_KEYS:
            del self._by_key[next(iter(self._by_key))]
        self._by_key[key] = [1, 0]

    def add_bytes(self, key: str, size: int) -> None:
        """Count body bytes that went out."""
        found = self._by_key.get(key)
        if found is not None:
            found[1] += size

    def requests(self, key: str) -> int:
        """How often a key has been asked for."""
        return self._by_key.get(key, (0, 0))[0]

    def total(self, tag: str = "") -> OriginCounts:
        """All keys, or those that have `/tag/` in them."""
        wanted = f"/{tag}/"
        found = [counts for key, counts in self._by_key.items() if not tag or wanted in key]
        requests = [count for count, _ in found]
        return OriginCounts(sum(requests), sum(size for _, size in found), len(found), max(requests, default=0))

    def render(self, target: str) -> bytes:
        """The answer to a request for the counts: JSON of those that `?tag=` names."""
        tag = parse_qs(urlsplit(target).query).get("tag", [""])[0]
        return json.dumps(asdict(self.total(tag))).encode()
