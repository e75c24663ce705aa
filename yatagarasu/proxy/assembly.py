"""An assembly: one entry whose body is being put together, with its flights and its readers.

It exists while either is there, and knows which bytes are on their way. It launches nothing itself.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from yatagarasu.cache.body import Body
from yatagarasu.cache.entry import Entry
from yatagarasu.errors import ObjectChanged, StoreError
from yatagarasu.proxy.fetch import Fetch, Span

if TYPE_CHECKING:
    from yatagarasu.proxy.flight import Flight


class Lease:
    """A reader's hold on an assembly: while it is out, the body stays and its bytes are wanted.

    `pos` is the next byte the reader needs, `stop` where it ends (None: the end of the object);
    `has_begun` once the client may have had a byte of the answer.
    """

    __slots__ = ("assembly", "has_begun", "pos", "stop")

    def __init__(self, assembly: "Assembly", pos: int = 0, stop: int | None = None) -> None:
        self.assembly = assembly
        self.pos = pos
        self.stop = stop
        self.has_begun = False

    def wants(self, start: int, stop: int | None) -> bool:
        """Whether any byte of [start, stop) is still to be read."""
        return (self.stop is None or start < self.stop) and (stop is None or self.pos < stop)

    def release(self) -> None:
        """Give the hold back; idempotent."""
        if self in self.assembly.leases:
            self.assembly.leases.remove(self)
            self.assembly.on_release(self.assembly)


class Assembly:
    """One entry, its flights and its readers.

    Args:
        entry: head known, body with holes.
        fetch: how to ask for more of it.
        on_release: told when a lease or a flight has gone.
        is_shared: False where only one client may see it (F7).
    """

    __slots__ = (
        "broken",
        "changed",
        "entry",
        "fetch",
        "first",
        "flights",
        "is_confirmed",
        "is_purged",
        "is_shared",
        "is_stored",
        "leases",
        "on_release",
    )

    def __init__(
        self, entry: Entry, fetch: Fetch, on_release: Callable[["Assembly"], None], *, is_shared: bool = True
    ) -> None:
        self.entry = entry
        self.fetch = fetch
        self.on_release = on_release
        self.is_shared = is_shared
        self.is_stored = False
        # Whether the origin has said that this is what the object is: not of an entry that was stored a while ago.
        self.is_confirmed = False
        # Purged while it was being read: those who read it go on, nobody else finds it.
        self.is_purged = False
        self.changed: ObjectChanged | None = None
        self.broken: StoreError | None = None
        self.flights: list[Flight] = []
        # The flight that brought the head: who waits for that has no lease yet, and will want one.
        self.first: Flight | None = None
        self.leases: set[Lease] = set()

    @property
    def body(self) -> Body:
        """The entry's body."""
        return self.entry.body

    def lease(self) -> Lease:
        """Take a hold on the whole object; narrow it by setting `pos` and `stop`."""
        lease = Lease(self)
        self.leases.add(lease)
        return lease

    @property
    def is_idle(self) -> bool:
        """Nobody reads, nobody waits for the head, nothing flies."""
        return not self.leases and not self.flights and (self.first is None or not self.first.waiters)

    def flight_reaching(self, pos: int, join_ahead: int) -> "Flight | None":
        """The flight that will bring the byte at `pos` within `join_ahead` bytes of where it is (F1)."""
        for flight in self.flights:
            if flight.pos <= pos and (flight.stop is None or pos < flight.stop) and pos - flight.pos <= join_ahead:
                return flight
        return None

    def span_for(self, pos: int, stop: int | None, block_size: int, join_ahead: int) -> Span:
        """The hole at `pos` that a reader of [pos, stop) needs, aligned out to blocks (F1).

        It never takes in bytes that are present, or that another flight brings to readers which join it.
        """
        size = self.body.size
        first, last = pos - pos % block_size, size
        if stop is not None:
            last = -(-stop // block_size) * block_size
            last = last if size is None else min(last, size)
        for flight in self.flights:
            if flight.stop is not None and flight.start <= pos:
                first = max(first, min(flight.stop, pos))
            if flight.pos <= pos and (flight.stop is None or pos < flight.stop):
                first = max(first, min(flight.pos + join_ahead, pos))
            if flight.pos > pos:
                last = flight.pos if last is None else min(last, flight.pos)
        extents = getattr(self.body, "extents", None)
        if extents is not None:
            bound = last if last is not None else 1 << 62
            first = extents.holes(first, pos + 1)[-1][0]
            present = extents.next_present(pos, bound)
            last = present if present < bound else last
        return Span(first, last)
