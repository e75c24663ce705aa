"""The Cache-Status field (RFC 9211)."""

import re

_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")


def format_cache_status(
    name: str,
    *,
    hit: bool = False,
    fwd: str | None = None,
    fwd_status: int | None = None,
    ttl: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    detail: str | None = None,
) -> str:
    """One member of the list: this cache's part in the answer.

    Args:
        name: of the cache, a token.
        fwd: why the request went forward (section 2.2); never together with `hit`.
        ttl: seconds of freshness left, negative where stale.
    """
    parts = [name]
    if hit:
        parts.append("hit")
    elif fwd is not None:
        parts.append(f"fwd={fwd}")
        if fwd_status is not None:
            parts.append(f"fwd-status={fwd_status}")
    if ttl is not None:
        parts.append(f"ttl={ttl}")
    if stored and not hit:
        parts.append("stored")
    if collapsed and not hit:
        parts.append("collapsed")
    if detail is not None:
        escaped = detail.replace("\\", "\\\\").replace('"', '\\"')
        parts.append(f"detail={detail}" if _TOKEN.fullmatch(detail) else f'detail="{escaped}"')
    return "; ".join(parts)
