"""Where the objects of a list are in a config: from keys and S3 URLs to request targets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from yatagarasu.s3.keys import encode_key
from yatagarasu.warm.item import Item


class NoPlace(Exception):
    """No bucket of the config serves this item; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Place:
    """One bucket of a config.

    Args:
        bucket: its name there.
        path_prefix: no slash at its end.
        s3_bucket: S3's name of it, None where it is a folder; `key_prefix` goes before every key there.
    """

    bucket: str
    path_prefix: str
    s3_bucket: str | None = None
    key_prefix: str = ""


class Finds(Protocol):
    """Finds the target of an item."""

    def target(self, item: Item) -> str:
        """The path, percent-encoded, at which clients ask for an item. Raises NoPlace."""
        ...


class OnePlace:
    """Every item where an address says, whatever bucket it names."""

    def target(self, item: Item) -> str:
        """The item's key as a path."""
        return encode_key(f"/{item.key}")


class Places:
    """Finds targets in a config.

    Args:
        default: the bucket of items that name none.
    """

    def __init__(self, places: Sequence[Place], default: Place | None) -> None:
        self._default = default
        self._by_name: dict[str, list[Place]] = {}
        # The longest key prefix first: it is the bucket that says most about an object.
        for place in sorted(places, key=lambda place: len(place.key_prefix), reverse=True):
            if place.s3_bucket is not None:
                self._by_name.setdefault(place.s3_bucket, []).append(place)

    def target(self, item: Item) -> str:
        """The path, percent-encoded, at which clients ask for an item.

        An item that names its S3 bucket has S3's key, which begins with the bucket's `key_prefix`; any other has the
        key that clients use.

        Raises:
            NoPlace: there is none.
        """
        if item.bucket is None:
            if self._default is None:
                raise NoPlace("no bucket is named, and the config has several")
            return encode_key(f"{self._default.path_prefix}/{item.key}")
        places = self._by_name.get(item.bucket, ())
        for place in places:
            if item.key.startswith(place.key_prefix):
                return encode_key(f"{place.path_prefix}/{item.key[len(place.key_prefix) :]}")
        if places:
            raise NoPlace(f"outside the key_prefix of s3://{item.bucket}")
        raise NoPlace(f"no bucket of the config is s3://{item.bucket}")
