"""One load of a scenario, with what the origin saw of it."""

from yatagarasu.bench.plan import Plan
from yatagarasu.bench.report import Row, Run
from yatagarasu.bench.scenario import Stage


async def measure(stage: Stage, plan: Plan, tag: str) -> Run:
    """Run a load on keys of `tag`.

    Beside the load generator's numbers, those of all requests, warm-up included: "sent", "sent_bytes"; of the
    origin, where it can be asked: "origin_requests", "origin_bytes", "origin_keys", "origin_most" (of one key, since
    the tag was new) and "saved_bytes", which clients got and the origin did not send.
    """
    before = await stage.counts(tag)
    result = await stage.load(plan)
    after = await stage.counts(tag)
    samples = result.tally.timeline.samples
    run = Run.of(result, sent=float(result.tally.sent), sent_bytes=float(samples[-1][1] if samples else 0))
    if result.server_share is not None:
        run.numbers["server_share"] = result.server_share
    run.numbers["generator_share"] = result.generator_share
    if before is not None and after is not None:
        run.numbers["origin_requests"] = float(after.requests - before.requests)
        run.numbers["origin_bytes"] = float(after.body_bytes - before.body_bytes)
        run.numbers["origin_keys"] = float(after.keys)
        run.numbers["origin_most"] = float(after.most)
        run.numbers["saved_bytes"] = max(0.0, run.numbers["sent_bytes"] - run.numbers["origin_bytes"])
    if result.limit == "generator":
        stage.note("where the limit is the generator, the server could have done more")
    elif result.limit == "core":
        stage.note(
            "where the limit is the core, the generator and the origin had one core between them, and it was full"
        )
    return run


def check_answers(row: Row) -> None:
    """Check that every answer was as it had to be, and that every run had some."""
    if not all(run.numbers["good"] or run.errors for run in row.runs):
        row.check("every answer right", False, "a run measured no answer at all: it needs more --seconds")
        return
    failed = sum(row.errors.values())
    kinds = ", ".join(f"{count} {kind}" for kind, count in row.errors.most_common())
    checked = sum(int(run.numbers.get("checked", 0)) for run in row.runs)
    text = kinds if failed else f"{sum(int(run.numbers['good']) for run in row.runs):,}"
    row.check("every answer right", not failed, f"{text}, {checked:,} of them compared byte by byte")


def check_one_each(row: Row) -> None:
    """Check that the origin was asked once for each object."""
    if not row.runs or "origin_requests" not in row.runs[0].numbers:
        return
    most = max(int(run.numbers["origin_most"]) for run in row.runs)
    requests = sum(int(run.numbers["origin_requests"]) for run in row.runs)
    keys = sum(int(run.numbers["origin_keys"]) for run in row.runs)
    row.check("one origin request per object", most <= 1, f"{requests:,} requests for {keys:,} objects, at most {most}")
