"""Where a bucket is: path style or virtual-hosted style, AWS or any endpoint.

AWS: "Methods for accessing a general purpose bucket".
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from yatagarasu.errors import ConfigError

_DNS_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]")


@dataclass(frozen=True, slots=True)
class Address:
    """A bucket's address; `path_prefix`, the endpoint's own path and in path style the bucket, goes before keys."""

    scheme: str
    host: str
    port: int
    path_prefix: str
    bucket_in_path: bool

    @property
    def host_header(self) -> str:
        """The Host field: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """Scheme and host, for people."""
        return f"{self.scheme}://{self.host_header}"

    def target(self, key_encoded: str, query: str = "") -> str:
        """The request target of an encoded key; "" is the bucket itself."""
        path = f"{self.path_prefix}/{key_encoded}" if key_encoded else self.path_prefix or "/"
        return f"{path}?{query}" if query else path


def resolve_address(bucket: str, region: str, endpoint: str | None, addressing: str = "auto") -> Address:
    """Find a bucket's address.

    Args:
        endpoint: a URL, None for AWS.
        addressing: "path", "virtual", or "auto": virtual on AWS for names that fit a certificate, else path.

    Raises:
        ConfigError: the endpoint is no http or https URL.
    """
    is_aws = endpoint is None
    parts = urlsplit(_aws_endpoint(region) if endpoint is None else endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"endpoint {endpoint!r} is not an http or https URL")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as exc:
        raise ConfigError(f"endpoint {endpoint!r} has a bad port") from exc
    is_virtual = addressing == "virtual" or (
        addressing == "auto" and is_aws and _DNS_BUCKET.fullmatch(bucket) is not None
    )
    base = parts.path.rstrip("/")
    if is_virtual:
        return Address(parts.scheme, f"{bucket}.{parts.hostname}", port, base, False)
    return Address(parts.scheme, parts.hostname, port, f"{base}/{bucket}", True)


def _aws_endpoint(region: str) -> str:
    # China is a partition of its own, with a domain of its own.
    return f"https://s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
