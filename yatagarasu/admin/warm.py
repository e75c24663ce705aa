"""Warming jobs over HTTP: /cache/warm and what is below it. Parameters in, JSON values out.

The worker that is asked to start a job runs it; whoever is asked about jobs asks the others, too.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from yatagarasu.admin.cache import Everyone
from yatagarasu.errors import BadRequest, ConfigError
from yatagarasu.warm.jobs import WarmJobs
from yatagarasu.warm.order import Order

PATH = "/cache/warm"
_LOOK_SECONDS = 5.0
_SEVERAL = frozenset(("list", "include", "exclude"))
_TEXTS = frozenset(("bucket", "prefix", "format", "newer_than", "max_bytes", "ranges", "bandwidth"))
_NUMBERS = frozenset(("concurrency", "rate"))
_TRUTHS = {"1": True, "true": True, "0": False, "false": False}
_VERBS = ("pause", "resume", "cancel")


async def _nobody(method: str, target: str, seconds: float) -> tuple[list[Any], int]:
    return [], 0


class WarmControl:
    """Answers for the jobs.

    Args:
        may_read_lists: whether files may be read for whoever asks; what is in them shows in what becomes of the job.
        everyone: asks the other workers; None where there are none.
    """

    def __init__(self, jobs: WarmJobs, *, may_read_lists: bool, everyone: Everyone | None = None) -> None:
        self._jobs = jobs
        self._may_read_lists = may_read_lists
        self._everyone = everyone or _nobody

    async def answer(self, method: str, path: str, query: str) -> tuple[int, Any]:
        """Status and value, for the whole machine.

        Raises:
            BadRequest: names what is wrong.
        """
        id, verb = _split(path)
        if method == "POST" and not id:
            return 202, self._start(query)
        here = self._here(method, id, verb, query)
        if here is None:
            return 405, {"error": "method not allowed"}
        others, missing = await self._everyone(method, path, _LOOK_SECONDS)
        jobs = here + [job for found in others for job in found]
        if id:
            return (200, jobs[0]) if jobs else (404, {"error": f"there is no job {id}", "workers_missing": missing})
        return 200, {"jobs": sorted(jobs, key=lambda job: str(job["started_at"])), "workers_missing": missing}

    def answer_peer(self, method: str, path: str) -> tuple[int, Any]:
        """Status and value, of this process alone."""
        here = self._here(method, *_split(path), "")
        return (405, {"error": "method not allowed"}) if here is None else (200, here)

    def _here(self, method: str, id: str, verb: str, query: str) -> list[dict[str, Any]] | None:
        """The jobs of this process that are meant, as they are after what was asked; None for another method."""
        if query:
            raise BadRequest("only a new job takes parameters")
        if method == "GET" and not verb:
            return self._jobs.show(id or None)
        if method == "DELETE" and id and not verb:
            return self._jobs.cancel(id)
        if method == "POST" and verb:
            act = {"pause": self._jobs.pause, "resume": self._jobs.resume, "cancel": self._jobs.cancel}[verb]
            return act(id)
        return None

    def _start(self, query: str) -> dict[str, Any]:
        given = _read(query)
        order = _order(given)
        if order.lists and not self._may_read_lists:
            raise BadRequest("list is for admin listeners with a token: set admin.token, or give a prefix")
        try:
            return self._jobs.start(order)
        except ConfigError as exc:
            raise BadRequest(str(exc)) from exc


def _split(path: str) -> tuple[str, str]:
    """Job and verb of a path, "" where there is none."""
    id, _, verb = path.removeprefix(PATH).strip("/").partition("/")
    if verb and verb not in _VERBS:
        raise BadRequest(f"a job can be asked to {', '.join(_VERBS)}")
    return id, verb


def _read(query: str) -> dict[str, list[str]]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except (ValueError, UnicodeDecodeError) as exc:
        raise BadRequest("the query cannot be read") from exc
    given: dict[str, list[str]] = {}
    known = _SEVERAL | _TEXTS | _NUMBERS | {"head_only"}
    for name, value in pairs:
        if name not in known:
            raise BadRequest(f"unknown parameter {name!r}; there are: {', '.join(sorted(known))}")
        if name in given and name not in _SEVERAL:
            raise BadRequest(f"{name} is given twice")
        given.setdefault(name, []).append(value)
    if "list" not in given and "prefix" not in given:
        raise BadRequest("say what to warm: prefix (empty for the whole bucket), or list")
    return given


def _order(given: Mapping[str, list[str]]) -> Order:
    values: dict[str, Any] = {name: given[name][0] for name in _TEXTS if name in given}
    values |= {name: tuple(given[name]) for name in ("include", "exclude") if name in given}
    if "list" in given:
        if not all(path.startswith("/") for path in given["list"]):
            raise BadRequest("list is an absolute path on the server")
        values["lists"] = tuple(given["list"])
    if "head_only" in given:
        text = given["head_only"][0].lower()
        if text not in _TRUTHS:
            raise BadRequest("head_only is 1 or 0")
        values["head_only"] = _TRUTHS[text]
    try:
        if "concurrency" in given:
            values["concurrency"] = int(given["concurrency"][0])
        if "rate" in given:
            values["rate"] = float(given["rate"][0])
    except ValueError as exc:
        raise BadRequest("concurrency and rate are numbers") from exc
    return Order(**values)
