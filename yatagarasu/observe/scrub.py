"""What must never be printed: the secrets a config holds, and whatever looks like a signature or a token."""

import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

# Shorter ones would strike out half of every line.
_SHORTEST = 4

# Query parameters and header parts that carry a signature or a token (AWS Signature Version 4, "Authenticating
# requests"; version 2's query form), and the fields themselves however they were printed: `name: value`,
# `('name', 'value')`, `"name": "value"`. A quote or a backslash ends a value.
_SIGNATURES = re.compile(
    r"""(\b(?:X-Amz-Security-Token|Signature|AWSAccessKeyId)(?:=|%3D))[^&\s,;"'\\]+"""
    r"""|(\b(?:Authorization|(?:Set-)?Cookie|X-Amz-Security-Token)(?:["']?\s*:|["'],)\s*["']?)[^\r\n"'\\]+"""
    r"""|(\bBearer\s+)[\w.~+/=-]{16,}""",
    re.IGNORECASE,
)


def _strike(match: re.Match[str]) -> str:
    return f"{match[1] or match[2] or match[3]}***"


def strike_signatures(text: str) -> str:
    """The text with *** for each signature and token."""
    # Every match needs one of these; nearly every target has none, and looking costs a tenth of searching.
    if "=" in text or "%" in text or ":" in text or "," in text or " " in text:
        return _SIGNATURES.sub(_strike, text)
    return text


class Scrubber:
    """Replaces secrets in a text: those it was given, in every spelling, and whatever looks like one.

    Secrets under four characters are not looked for.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._spellings: set[str] = set()
        self._known: re.Pattern[str] | None = None
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Know more secrets, after a reload for instance; none is ever forgotten."""
        for secret in secrets:
            if len(secret) >= _SHORTEST:
                # As it is, in a query, in JSON, in a repr.
                self._spellings |= {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
                self._spellings |= {json.dumps(secret)[1:-1], repr(secret)[1:-1]}
        if self._spellings:
            longest_first = sorted(self._spellings, key=len, reverse=True)
            self._known = re.compile("|".join(map(re.escape, longest_first)))

    def scrub(self, text: str) -> str:
        """The text with *** for each secret."""
        if self._known is not None:
            text = self._known.sub("***", text)
        return strike_signatures(text)
