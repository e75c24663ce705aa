"""Where a job's items come from: object lists, or the listing of a bucket. Batches, so that memory stays constant."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol
from urllib.parse import quote, urlencode

import trio

from yatagarasu.errors import ConfigError
from yatagarasu.observe.metrics import Metrics
from yatagarasu.proxy.listing import Lister
from yatagarasu.proxy.router import Route
from yatagarasu.s3.listing import parse_list_v2
from yatagarasu.warm.item import Item, Malformed
from yatagarasu.warm.lists import epoch_of

_BATCH = 512


class Source(Protocol):
    """A list that is read once, from its beginning."""

    async def next_batch(self) -> Sequence[Item | Malformed]:
        """What comes next, empty at the end. Raises ConfigError where it cannot be read."""
        ...


class Lists:
    """Lists that are read by somebody who blocks: files, standard input."""

    def __init__(self, items: Iterator[Item | Malformed]) -> None:
        self._items = items

    async def next_batch(self) -> Sequence[Item | Malformed]:
        """Read on, in a thread. Cancellation leaves the thread to itself: a terminal may never say another word."""
        return await trio.to_thread.run_sync(lambda: list(islice(self._items, _BATCH)), abandon_on_cancel=True)


class Given:
    """Lists that are there already."""

    def __init__(self, items: Iterator[Item | Malformed]) -> None:
        self._items = items

    async def next_batch(self) -> Sequence[Item | Malformed]:
        """The next ones."""
        await trio.lowlevel.checkpoint()
        return list(islice(self._items, _BATCH))


class Listing:
    """The objects of a route's bucket whose keys begin with `prefix`, as clients name them."""

    def __init__(self, route: Route, prefix: str) -> None:
        self._route = route
        self._prefix = prefix
        self._lister = Lister(metrics=Metrics())
        self._token: str | None = None
        self._is_over = False

    async def next_batch(self) -> Sequence[Item | Malformed]:
        """Ask for pages until one has an object."""
        while not self._is_over:
            query = {"encoding-type": "url", "list-type": "2", "max-keys": "1000", "prefix": self._prefix}
            if self._token is not None:
                query["continuation-token"] = self._token
            _, _, body = await self._lister.page(self._route, urlencode(query, quote_via=quote, safe=""))
            page = parse_list_v2(body)
            if page.next_token is not None and page.next_token == self._token:
                raise ConfigError(f"the listing of {self._route.bucket} turns in a circle")
            self._token, self._is_over = page.next_token, page.next_token is None
            if page.keys:
                return [Item(found.key, None, found.size, epoch_of(found.last_modified)) for found in page.keys]
        return ()
