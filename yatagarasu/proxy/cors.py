"""Cross-origin resource sharing per bucket (Fetch standard, section 3.2): pre-flights and response fields."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from yatagarasu.http.headers import Headers, Pair


@dataclass(frozen=True, slots=True)
class Cors:
    """What a bucket allows other web origins.

    `allow_origins` are exact origins, patterns with one `*`, or `*` alone; `max_age_seconds` is how long a
    browser may keep a pre-flight's answer.
    """

    allow_origins: tuple[str, ...]
    allow_methods: tuple[str, ...] = ("GET", "HEAD")
    allow_headers: tuple[str, ...] = ("*",)
    expose_headers: tuple[str, ...] = ()
    max_age_seconds: int = 600
    allow_credentials: bool = False

    def allows(self, web_origin: str) -> bool:
        """Whether `web_origin`, as the Origin field says it, may read answers."""
        return any(
            pattern in ("*", web_origin) or ("*" in pattern and fnmatchcase(web_origin, pattern.replace("[", "[[]")))
            for pattern in self.allow_origins
        )

    def _allow_origin(self, web_origin: str) -> list[Pair]:
        if "*" in self.allow_origins and not self.allow_credentials:
            return [("access-control-allow-origin", "*")]
        pairs = [("access-control-allow-origin", web_origin), ("vary", "Origin")]
        if self.allow_credentials:
            pairs.append(("access-control-allow-credentials", "true"))
        return pairs

    def response_fields(self, headers: Headers) -> list[Pair]:
        """Fields to add to an answer to a request with these fields."""
        web_origin = headers.get("origin")
        if web_origin is None or not self.allows(web_origin):
            return [] if "*" in self.allow_origins else [("vary", "Origin")]
        pairs = self._allow_origin(web_origin)
        if self.expose_headers:
            pairs.append(("access-control-expose-headers", ", ".join(self.expose_headers)))
        return pairs

    def preflight_fields(self, headers: Headers) -> list[Pair] | None:
        """Fields of the answer to a pre-flight, None where it is refused."""
        web_origin = headers.get("origin")
        method = headers.get("access-control-request-method")
        if web_origin is None or method is None or not self.allows(web_origin):
            return None
        if method not in self.allow_methods:
            return None
        asked = [name.strip().lower() for name in headers.get("access-control-request-headers", "").split(",")]
        allowed = {name.lower() for name in self.allow_headers}
        if "*" not in allowed and not all(name in allowed for name in asked if name):
            return None
        pairs = self._allow_origin(web_origin)
        pairs.append(("access-control-allow-methods", ", ".join(self.allow_methods)))
        names = ", ".join(name for name in asked if name)
        if names:
            pairs.append(("access-control-allow-headers", names))
        pairs.append(("access-control-max-age", str(self.max_age_seconds)))
        return pairs
