"""Where credentials come from: the config, botocore's AWS chain, or nowhere."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import trio

from yatagarasu.errors import OriginRefused
from yatagarasu.s3.signing import Credentials

if TYPE_CHECKING:
    from botocore.credentials import Credentials as BotoCredentials

# botocore's own numbers: temporary credentials are renewed in the last quarter of an hour of their life, and
# must be in the last ten minutes.
_ADVISORY_SECONDS = 15 * 60
_MANDATORY_SECONDS = 10 * 60
# Permanent ones are looked at again now and then: a profile on disk may have changed.
_RECHECK_SECONDS = 5 * 60
# After a failed renewal with credentials that still hold.
_RETRY_SECONDS = 30


class CredentialSource(Protocol):
    """Something that has credentials."""

    async def get(self) -> Credentials | None:
        """Credentials that hold now, None for requests without a signature. Raises OriginRefused."""
        ...


class Anonymous:
    """No signature."""

    async def get(self) -> Credentials | None:
        """None."""
        return None


class StaticCredentials:
    """Credentials out of the config."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def get(self) -> Credentials | None:
        """Always the same."""
        return self._credentials


class AwsChain:
    """botocore's provider chain: environment, profile, web identity, container, instance metadata.

    It blocks, so it runs in a thread; one asks for all who wait. Near the end of their life whoever comes first
    renews them, while all others are still handed the old ones.

    Args:
        profile: of the shared config files, None for the default.
        clock: epoch seconds.
        load: what asks the chain, in a thread; None is botocore.
    """

    def __init__(
        self,
        profile: str | None = None,
        *,
        clock: Callable[[], float] = time.time,
        load: Callable[[], Credentials | None] | None = None,
    ) -> None:
        self._profile = profile
        self._clock = clock
        self._load = load or self._ask_botocore
        self._known: Credentials | None = None
        self._good_until = 0.0
        self._renew_at = 0.0
        self._lock: trio.Lock | None = None
        self._limiter: trio.CapacityLimiter | None = None
        self._chain: BotoCredentials | None = None

    async def get(self) -> Credentials | None:
        """Credentials that hold now.

        Cancelled, it still waits for its thread, whose answer is lost; the next caller asks again.

        Raises:
            OriginRefused: the chain has none, and where it looked; or what stopped it.
        """
        now = self._clock()
        if self._known is not None and now < self._renew_at:
            return self._known
        if self._lock is None or self._limiter is None:
            self._lock, self._limiter = trio.Lock(), trio.CapacityLimiter(1)
        if self._known is not None and now < self._good_until:
            # Advisory: whoever comes first renews, the others go on with what they have.
            try:
                self._lock.acquire_nowait()
            except trio.WouldBlock:
                return self._known
            try:
                await self._renew(self._limiter)
            finally:
                self._lock.release()
            return self._known
        async with self._lock:
            if self._known is None or self._clock() >= self._good_until:
                await self._renew(self._limiter)
        return self._known

    async def _renew(self, limiter: trio.CapacityLimiter) -> None:
        try:
            found = await trio.to_thread.run_sync(self._load, limiter=limiter)
        except OriginRefused:
            if self._known is None or self._clock() >= self._good_until:
                raise
            self._renew_at = self._clock() + _RETRY_SECONDS
            return
        now = self._clock()
        self._known = found
        if found is None or found.expires_at is None:
            self._good_until = self._renew_at = now + _RECHECK_SECONDS
        else:
            self._good_until = max(now + 1, found.expires_at - _MANDATORY_SECONDS)
            # botocore hands out the old ones where an advisory renewal fails: not to be asked every second.
            renew_at = max(now + _RETRY_SECONDS, found.expires_at - _ADVISORY_SECONDS)
            self._renew_at = min(self._good_until, renew_at)

    def _ask_botocore(self) -> Credentials | None:
        import botocore.session
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if self._chain is None:
                self._chain = botocore.session.Session(profile=self._profile).get_credentials()
            chain = self._chain
            if chain is None:
                raise OriginRefused(
                    "no AWS credentials: looked at the environment, shared config files, web identity, "
                    "container and instance metadata"
                )
            frozen = chain.get_frozen_credentials()
        # STS refused the role (ClientError), a token file is not there (OSError), or what was renewed has ended
        # already (RuntimeError): botocore lets all three through as they are.
        except (BotoCoreError, ClientError, OSError, RuntimeError) as exc:
            raise OriginRefused(f"AWS credentials: {exc}") from exc
        expiry = getattr(chain, "_expiry_time", None)
        if not hasattr(chain, "refresh_needed"):
            # Not renewable: a shared config file may have changed, so it is read again next time.
            self._chain = None
        return Credentials(
            frozen.access_key,
            frozen.secret_key,
            frozen.token,
            expiry.timestamp() if expiry is not None else None,
        )
