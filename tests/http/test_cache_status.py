from typing import Any

import pytest

from yatagarasu.http.cache_status import format_cache_status


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({"hit": True}, "c; hit", id="2.1-hit"),
        pytest.param({"hit": True, "ttl": 30}, "c; hit; ttl=30", id="2.4-ttl"),
        pytest.param({"hit": True, "ttl": -3}, "c; hit; ttl=-3", id="2.4-stale"),
        pytest.param({"hit": True, "ttl": 0}, "c; hit; ttl=0", id="2.4-zero"),
        pytest.param({"fwd": "uri-miss"}, "c; fwd=uri-miss", id="2.2-fwd"),
        pytest.param({"fwd": "stale", "fwd_status": 304}, "c; fwd=stale; fwd-status=304", id="2.3-fwd-status"),
        pytest.param({"fwd": "miss", "stored": True}, "c; fwd=miss; stored", id="2.5-stored"),
        pytest.param({"fwd": "miss", "collapsed": True}, "c; fwd=miss; collapsed", id="2.6-collapsed"),
        pytest.param({"hit": True, "fwd": "miss"}, "c; hit", id="2.2-never-beside-hit"),
        pytest.param({"hit": True, "fwd_status": 200}, "c; hit", id="2.3-only-beside-fwd"),
        pytest.param({"hit": True, "stored": True, "collapsed": True}, "c; hit", id="2.5-only-where-forwarded"),
        pytest.param({"detail": "MEMORY"}, "c; detail=MEMORY", id="2.8-detail-token"),
        pytest.param({"detail": "a b"}, 'c; detail="a b"', id="2.8-detail-string"),
        pytest.param({"detail": 'a"\\b'}, 'c; detail="a\\"\\\\b"', id="rfc8941-3.3.3-escapes"),
        pytest.param({"detail": ""}, 'c; detail=""', id="rfc8941-3.3.4-a-token-is-never-empty"),
        pytest.param({"detail": "1a"}, 'c; detail="1a"', id="rfc8941-3.3.4-nor-starts-with-a-digit"),
        pytest.param({}, "c", id="2-the-name-alone"),
        pytest.param(
            {"fwd": "miss", "fwd_status": 200, "ttl": 5, "stored": True, "collapsed": True, "detail": "x"},
            "c; fwd=miss; fwd-status=200; ttl=5; stored; collapsed; detail=x",
            id="all-of-them",
        ),
    ],
)
def test_rfc9211(arguments: dict[str, Any], expected: str) -> None:
    assert format_cache_status("c", **arguments) == expected
