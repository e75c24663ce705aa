"""The examples are part of the product: each is accepted without so much as a warning."""

from pathlib import Path

import pytest

from yatagarasu.config.load import load_file

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.toml"))


def test_all_four_are_there() -> None:
    names = {path.name for path in EXAMPLES}
    assert {"minimal.toml", "public-assets.toml", "minio-or-seaweedfs.toml", "production.toml"} <= names


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_good_on_a_machine_without_variables(path: Path) -> None:
    loaded = load_file(path, {})
    assert loaded.problems == []
    assert loaded.config is not None


def test_keys_for_a_local_server_come_from_the_environment() -> None:
    path = next(path for path in EXAMPLES if path.stem == "minio-or-seaweedfs")
    environ = {"S3_ENDPOINT": "http://s3.test:8333", "S3_ACCESS_KEY": "AK", "S3_SECRET_KEY": "SK"}
    config = load_file(path, environ).config
    assert config is not None
    s3 = config.buckets[0].s3
    assert s3 is not None
    assert s3.access_key is not None
    assert s3.secret_key is not None
    assert (s3.endpoint, s3.access_key.get_secret_value(), s3.secret_key.get_secret_value()) == (
        "http://s3.test:8333",
        "AK",
        "SK",
    )
