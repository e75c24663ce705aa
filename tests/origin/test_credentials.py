"""Credentials: asked for once, renewed before they end, never printed."""

import botocore.session
import pytest
import trio
from botocore.credentials import DeferredRefreshableCredentials
from botocore.exceptions import ClientError

from yatagarasu.errors import OriginRefused
from yatagarasu.origin.credentials import AwsChain
from yatagarasu.s3.signing import Credentials


class Chain:
    def __init__(self, lifetime: float | None = 3600.0) -> None:
        self.now = 1000.0
        self.loads = 0
        self.lifetime = lifetime
        self.error: OriginRefused | None = None

    def load(self) -> Credentials:
        self.loads += 1
        if self.error is not None:
            raise self.error
        expires = None if self.lifetime is None else self.now + self.lifetime
        return Credentials(f"AK{self.loads}", "secret", "token", expires)

    def source(self) -> AwsChain:
        return AwsChain(clock=lambda: self.now, load=self.load)


async def test_many_waiters_ask_once():
    chain = Chain()
    source = chain.source()
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(source.get)
    assert chain.loads == 1


async def test_they_are_renewed_before_they_end():
    chain = Chain()
    source = chain.source()
    assert (await source.get()).access_key == "AK1"
    chain.now += 3600 - 16 * 60
    assert (await source.get()).access_key == "AK1"
    chain.now += 2 * 60
    assert (await source.get()).access_key == "AK2"


async def test_a_failed_renewal_keeps_what_still_holds():
    chain = Chain()
    source = chain.source()
    await source.get()
    chain.now += 3600 - 12 * 60
    chain.error = OriginRefused("the metadata service is away")
    assert (await source.get()).access_key == "AK1"
    chain.now += 11 * 60
    with pytest.raises(OriginRefused, match="metadata"):
        await source.get()


async def test_what_was_not_renewed_in_time_is_not_asked_for_every_second():
    chain = Chain(lifetime=12 * 60)
    source = chain.source()
    for _ in range(10):
        await source.get()
        chain.now += 2
    assert chain.loads == 1


@pytest.mark.parametrize("lifetime", [20.0, 5 * 60.0])
async def test_ones_with_a_short_life_are_never_handed_out_ended(lifetime):
    chain = Chain(lifetime)
    source = chain.source()
    for _ in range(40):
        found = await source.get()
        assert found.expires_at > chain.now
        chain.now += 15


async def test_a_role_that_sts_refuses_is_a_refusal(monkeypatch):
    def refuse():
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no sts:AssumeRole"}}, "AssumeRole")

    chain = DeferredRefreshableCredentials(refresh_using=refuse, method="assume-role")
    monkeypatch.setattr(botocore.session.Session, "get_credentials", lambda self: chain)
    with pytest.raises(OriginRefused, match="AssumeRole"):
        await AwsChain().get()


async def test_a_web_identity_without_its_token_file_is_a_refusal(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/crow")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "missing"))
    with pytest.raises(OriginRefused, match="missing"):
        await AwsChain().get()


async def test_the_real_chain_reads_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-env")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token-env")
    found = await AwsChain().get()
    assert (found.access_key, found.secret_key, found.session_token) == ("AKENV", "secret-env", "token-env")
    assert "secret-env" not in repr(found)
    assert "token-env" not in repr(found)


async def test_the_real_chain_reads_a_profile_and_says_where_it_looked(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    with pytest.raises(OriginRefused, match="environment"):
        await AwsChain().get()
    file.write_text("[crow]\naws_access_key_id = AKFILE\naws_secret_access_key = s\n")
    assert (await AwsChain("crow").get()).access_key == "AKFILE"
    with pytest.raises(OriginRefused, match="raven"):
        await AwsChain("raven").get()
