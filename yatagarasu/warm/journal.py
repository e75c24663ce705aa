"""The journal: what of a list is done, so that the same job, run again after it was interrupted, goes on there.

Items are known by their number in the list. What is done are ranges of numbers; that the list is the same one is
known by a digest of what stood before a certain number. Items that failed are not done: they are tried again.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from yatagarasu.cache.extents import Extents
from yatagarasu.errors import ConfigError

FORMAT = "yatagarasu-warm/1"
# Each item that failed leaves a gap. So many gaps cost some megabytes; what fails after them is not tried again.
_MAX_RUNS = 100_000


def job_digest(what: Mapping[str, object]) -> str:
    """A name for a job: the same for the same things asked for, of the same lists."""
    return blake2b(json.dumps(what, sort_keys=True).encode(), digest_size=12).hexdigest()


@dataclass(slots=True)
class Past:
    """What an earlier run left: items done, `digest` of the first `checked` items, its counts, when it was written."""

    done: Extents
    checked: int
    digest: str
    counts: dict[str, int] = field(default_factory=dict)
    written_at: float = 0.0


class Journal:
    """The state of one run of a job, and the file that it is written to.

    Args:
        path: None keeps no file.
        job: what `job_digest` gave: a journal of another job is not ours.
    """

    def __init__(self, path: Path | None, job: str) -> None:
        self._path = path
        self._job = job
        self.done = Extents()
        self._number = 0
        self._digest = blake2b(digest_size=16)

    @property
    def taken(self) -> int:
        """How many items have been taken from the list."""
        return self._number

    def read(self) -> Past | None:
        """What an earlier run of this job left; None where it left nothing, or nothing that can be read."""
        if self._path is None:
            return None
        try:
            found: dict[str, Any] = json.loads(self._path.read_bytes())
            if found["format"] != FORMAT or found["job"] != self._job:
                return None
            done = Extents()
            for start, stop in found["done"]:
                done.add(start, stop)
            checked, digest = found["check"]
            return Past(done, int(checked), str(digest), dict(found["counts"]), float(found["written_at"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def take(self, key: str) -> int:
        """Number the next item of the list."""
        number = self._number
        self._number += 1
        self._digest.update(key.encode("utf-8", "surrogatepass") + b"\n")
        return number

    def agrees(self, past: Past) -> bool:
        """Whether the first `past.checked` items were the same. Asked when just so many have been taken."""
        return self._number == past.checked and self._digest.hexdigest() == past.digest

    def finish(self, number: int) -> None:
        """Note that an item needs no more work."""
        self.done.add(number, number + 1)

    def give_up(self, number: int) -> None:
        """Note that an item could not be had: it is tried again some day, unless very many are."""
        if self.done.run_count >= _MAX_RUNS:
            self.done.add(number, number + 1)

    def restart(self) -> None:
        """Begin a list from its first item."""
        self.done = Extents()
        self._number = 0
        self._digest = blake2b(digest_size=16)

    def snapshot(self, counts: Mapping[str, int], now: float) -> bytes:
        """What the file is to say; to be written once all that is done by now would survive this process."""
        found = {
            "format": FORMAT,
            "job": self._job,
            "done": list(self.done),
            "check": [self._number, self._digest.hexdigest()],
            "counts": dict(counts),
            "written_at": now,
        }
        return json.dumps(found).encode()

    def write(self, snapshot: bytes) -> None:
        """Write the file, whole or not at all.

        Raises:
            ConfigError: it cannot be written; names it.
        """
        if self._path is None:
            return
        temporary = self._path.with_name(self._path.name + ".tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(snapshot)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self._path)
        except OSError as exc:
            raise ConfigError(f"the journal {self._path} cannot be written: {exc.strerror}") from exc

    def remove(self) -> None:
        """Take the file away: the job is over."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()
