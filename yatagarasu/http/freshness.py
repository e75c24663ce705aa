"""Age and freshness arithmetic (RFC 9111, section 4.2). Epoch seconds in, seconds out."""

from yatagarasu.http.cache_control import ResponseDirectives
from yatagarasu.http.dates import parse_http_date
from yatagarasu.http.headers import Headers


def initial_age(headers: Headers, request_time: float, response_time: float) -> float:
    """The corrected initial age of a response, in seconds, never negative (RFC 9111, section 4.2.3)."""
    date = parse_http_date(headers.get("date", ""))
    apparent = 0.0 if date is None else max(0.0, response_time - date)
    if apparent < 1.0:
        apparent = 0.0  # Date has whole seconds: less than one says nothing.
    # RFC 9111, section 5.1: of several Age values the first counts; one that is no number is ignored.
    text = headers.get("age", "").split(",")[0].strip()
    age_value = float(min(int(text[:12]), 2**31)) if text.isascii() and text.isdigit() else 0.0
    return max(apparent, age_value + max(0.0, response_time - request_time))


def explicit_freshness(headers: Headers, directives: ResponseDirectives, response_time: float) -> float | None:
    """The freshness lifetime a response states, in seconds, None where it states none.

    s-maxage over max-age over Expires less Date (RFC 9111, section 4.2.1); an Expires that is no date, or
    says so twice, is in the past (section 5.3).
    """
    if directives.s_maxage is not None:
        return directives.s_maxage
    if directives.max_age is not None:
        return directives.max_age
    values = headers.get_all("expires")
    if not values:
        return None
    expires = parse_http_date(values[0])
    if expires is None or len(set(values)) > 1:
        return 0.0
    date = parse_http_date(headers.get("date", ""))
    return max(0.0, expires - (response_time if date is None else date))
