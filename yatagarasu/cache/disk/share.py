"""Which part of a cache directory a process answers for: all of it, or its share beside other workers'."""

from typing import Protocol

from yatagarasu.cache.entry import Key


class Share(Protocol):
    """A process's part of a directory. Whoever owns a key is the only one to change its file; others read it."""

    @property
    def may_write(self) -> bool:
        """Whether this process may still change anything; not once others have taken its place."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether other processes use the directory too."""
        ...

    def owns(self, key: Key) -> bool:
        """Whether this process owns a key at the moment."""
        ...

    def members(self) -> object:
        """Something that is equal as long as `owns` says the same; None while this process owns nothing."""
        ...

    def max_bytes(self, max_size: int) -> int:
        """The most bytes that this process may hold, as of this moment, where `max_size` is all processes' bound."""
        ...

    def report(self, size: int) -> None:
        """Tell the others how many bytes this process holds."""
        ...


class Whole:
    """The share of a process that has the directory to itself."""

    may_write = True
    is_shared = False

    def owns(self, key: Key) -> bool:
        """Every key."""
        return True

    def members(self) -> object:
        """Nobody else, ever."""
        return ()

    def max_bytes(self, max_size: int) -> int:
        """All of it."""
        return max_size

    def report(self, size: int) -> None:
        """There is nobody to tell."""
