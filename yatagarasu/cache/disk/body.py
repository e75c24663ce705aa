"""A body in a file of the disk tier: kept with its holes, completed later."""

import os
from collections.abc import Callable
from contextlib import suppress

from yatagarasu.cache.body import Bytes, FileBody
from yatagarasu.cache.disk.record import Superblock
from yatagarasu.cache.extents import Extents
from yatagarasu.errors import StoreError

# Growth is told in steps: as exact as a bound of some gigabytes needs, and no work with every write.
_STEP_BYTES = 1024 * 1024


class DiskBody(FileBody):
    """A file of the disk tier.

    The file is closed when nobody refers to the body any more: readers may still be sending from one that has been
    evicted. `path` is None until the file has its name, and `unnamed` the one it has until then; `sums` are CRC-32s
    by block, kept by whoever flushes it.

    Args:
        on_error: told why the system refused a write.
    """

    __slots__ = (
        "_on_error",
        "_on_growth",
        "_told",
        "block_size",
        "is_verified",
        "path",
        "stamp",
        "sums",
        "superblock",
        "unnamed",
    )

    def __init__(
        self,
        fd: int,
        superblock: Superblock,
        *,
        block_size: int,
        extents: Extents | None = None,
        sums: dict[int, int] | None = None,
        path: str | None = None,
        on_error: Callable[[OSError], None] | None = None,
    ) -> None:
        super().__init__(superblock.size, fd, extents)
        self.superblock = superblock
        self.block_size = block_size
        self.sums: dict[int, int] = {} if sums is None else sums
        self.path = path
        # False while only a machine that has crashed since says that the bytes are good.
        self.is_verified = True
        # When the file was last changed, as of our reading it; another process may have changed it since.
        self.stamp = 0
        self.unnamed: str | None = None
        self._on_growth: Callable[[DiskBody], None] | None = None
        self._on_error = on_error
        self._told = self.extents.total

    def write(self, pos: int, data: Bytes) -> None:
        """Store `data` at `pos`; raises StoreError."""
        self.stamp = 0
        try:
            super().write(pos, data)
        except StoreError as exc:
            if self._on_error is not None and isinstance(exc.__cause__, OSError):
                self._on_error(exc.__cause__)
            raise
        total = self.extents.total
        if total >= self._told + _STEP_BYTES or total == self.size:
            self._told = total
            if self._on_growth is not None:
                self._on_growth(self)

    def attach(self, on_growth: Callable[["DiskBody"], None]) -> None:
        """Belong to a tier, which is told after each write that takes the body a step further."""
        self._on_growth = on_growth

    def let_go(self) -> None:
        """Belong to no tier any more: what is written from here on is for those who read it now."""
        self._on_growth = None

    def block(self, number: int) -> tuple[int, int]:
        """The bytes [start, stop) that checksum `number` covers."""
        return number * self.block_size, min((number + 1) * self.block_size, self.size or 0)

    def close(self) -> None:
        """Nothing: others may hold the same body. The last reference closes the file."""

    def __del__(self) -> None:
        super().close()
        if self.unnamed is not None:
            with suppress(OSError):
                os.unlink(self.unnamed)
