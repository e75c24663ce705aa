from collections.abc import Sequence
from dataclasses import replace

import pytest

from yatagarasu.cache.body import MemoryBody, NoBody
from yatagarasu.cache.entry import Entry, Lifetime
from yatagarasu.cache.memory import ENTRY_OVERHEAD_BYTES, MemoryStatistics, MemoryTier, charge_of
from yatagarasu.cache.tiers import Tier, Tiers
from yatagarasu.cache.variants import Variants, variant_key
from yatagarasu.http.headers import Headers, Pair

KIB = 1024


def entry(key: str, data: bytes = b"x", *, headers: Sequence[Pair] = (), response_time: float = 1e9) -> Entry:
    return Entry(
        key=key,
        status=200,
        headers=Headers(headers),
        body=MemoryBody.of(data),
        size=len(data),
        response_time=response_time,
        initial_age=0.0,
        lifetime=Lifetime(60.0),
    )


def keys_of(tier: Tier) -> list[str]:
    return sorted(held.key for held in tier)


def test_what_was_put_is_got() -> None:
    tier = MemoryTier(100, 100)
    held = entry("a")
    assert tier.put(held, 10)
    assert tier.get("a") is held


def test_an_unknown_key_is_none() -> None:
    assert MemoryTier(100, 100).get("a") is None


def test_putting_a_key_again_replaces_entry_and_charge() -> None:
    tier = MemoryTier(100, 100)
    tier.put(entry("a"), 60)
    newer = entry("a")
    tier.put(newer, 70)
    assert tier.get("a") is newer
    assert tier.statistics() == MemoryStatistics(bytes=70, entries=1, evictions=0, max_bytes=100)


def test_the_tier_never_holds_more_than_its_bound_and_counts_evictions() -> None:
    tier = MemoryTier(100, 100)
    for number in range(25):
        tier.put(entry(f"k{number:02}"), 10)
    assert tier.statistics() == MemoryStatistics(bytes=100, entries=10, evictions=15, max_bytes=100)
    assert keys_of(tier) == [f"k{number:02}" for number in range(15, 25)]


def test_entries_in_use_outlive_a_scan() -> None:
    tier = MemoryTier(100, 100)
    tier.put(entry("hot"), 10)
    for number in range(100):
        tier.get("hot")
        tier.put(entry(f"scan{number}"), 10)
    assert "hot" in tier


def test_an_object_over_the_limit_is_not_held() -> None:
    tier = MemoryTier(100 * KIB, 10)
    assert not tier.put(entry("a", b"x" * 11), 11)
    assert len(tier) == 0


def test_an_object_of_just_the_limit_is_held_though_its_head_comes_on_top() -> None:
    tier = MemoryTier(100 * KIB, 10)
    held = entry("a", b"x" * 10)
    assert tier.put(held, charge_of(held))


def test_a_head_whose_body_is_not_kept_is_held_however_large_the_object() -> None:
    tier = MemoryTier(100 * KIB, KIB)
    head = Entry("a", 200, Headers(), NoBody(1 << 40), 1 << 40, 1e9, 0.0, Lifetime(60.0))
    assert tier.put(head, 900)


def test_a_body_of_unknown_size_counts_by_its_charge() -> None:
    tier = MemoryTier(100 * KIB, KIB)
    head = Entry("a", 200, Headers(), NoBody(None), None, 1e9, 0.0, Lifetime(60.0))
    assert not tier.put(head, KIB + 1)


def test_an_entry_too_large_takes_the_one_it_supersedes_with_it() -> None:
    tier = MemoryTier(100, 50)
    tier.put(entry("a"), 10)
    assert not tier.put(entry("a", b"x" * 60), 60)
    assert tier.get("a") is None


@pytest.mark.parametrize("charge", [0, 10])
def test_a_tier_of_no_size_holds_nothing(charge: int) -> None:
    tier = MemoryTier(0, 100)
    assert not tier.put(entry("a"), charge)
    assert tier.statistics() == MemoryStatistics(bytes=0, entries=0, evictions=0, max_bytes=0)


def test_a_freshened_entry_takes_the_place_of_the_old_one_at_its_charge() -> None:
    tier = MemoryTier(100, 100)
    old = entry("a")
    tier.put(old, 40)
    fresh = replace(old, response_time=2e9)
    assert tier.replace(fresh)
    assert tier.get("a") is fresh
    assert tier.statistics().bytes == 40


def test_a_freshened_entry_does_not_take_the_place_of_a_newer_generation() -> None:
    tier = MemoryTier(100, 100)
    newer = entry("a")
    tier.put(newer, 40)
    assert not tier.replace(entry("a", response_time=2e9))
    assert tier.get("a") is newer


def test_a_freshened_entry_keeps_its_turn_in_the_queue() -> None:
    tier = MemoryTier(30, 30)
    held = {key: entry(key) for key in ("a", "b", "c")}
    for each in held.values():
        tier.put(each, 10)
    tier.replace(replace(held["a"]))
    tier.put(entry("d"), 10)
    assert keys_of(tier) == ["b", "c", "d"]


def test_a_freshened_entry_whose_key_has_left_stays_out() -> None:
    tier = MemoryTier(100, 100)
    assert not tier.replace(entry("a"))
    assert tier.get("a") is None


def test_removing_hands_back_the_entry_and_its_room() -> None:
    tier = MemoryTier(100, 100)
    held = entry("a")
    tier.put(held, 10)
    assert tier.remove("a") is held
    assert tier.remove("a") is None
    assert (tier.get("a"), tier.statistics().bytes) == (None, 0)


def test_clearing_empties_the_tier_and_counts_no_evictions() -> None:
    tier = MemoryTier(100, 100)
    tier.put(entry("a"), 10)
    tier.clear()
    assert tier.statistics() == MemoryStatistics(bytes=0, entries=0, evictions=0, max_bytes=100)
    assert tier.put(entry("a"), 10)


def test_iterating_allows_removal_and_counts_no_use() -> None:
    tier = MemoryTier(30, 30)
    for key in ("a", "b", "c"):
        tier.put(entry(key), 10)
    assert [list(tier) for _ in range(3)] == [list(tier)] * 3
    tier.put(entry("d"), 10)
    assert "a" not in tier
    for held in tier:
        tier.remove(held.key)
    assert len(tier) == 0


def test_on_evict_sees_what_left_to_make_room() -> None:
    gone: list[Entry] = []
    tier = MemoryTier(20, 20, on_evict=gone.append)
    first = entry("a")
    for held in (first, entry("b"), entry("c")):
        tier.put(held, 10)
    tier.remove("b")
    tier.put(entry("c"), 10)
    assert gone == [first]


def test_on_evict_may_call_the_tier() -> None:
    def drop_the_sibling(gone: Entry) -> None:
        tier.remove("b")

    tier = MemoryTier(20, 20, on_evict=drop_the_sibling)
    for key in ("a", "b", "c"):
        tier.put(entry(key), 10)
    assert keys_of(tier) == ["c"]
    assert tier.statistics().bytes == 10


def test_a_charge_counts_the_head_and_the_body() -> None:
    bare = charge_of(entry("k", b""))
    assert bare >= ENTRY_OVERHEAD_BYTES
    assert charge_of(entry("k", b"x" * 5000)) == bare + 5000
    assert charge_of(entry("k", b"", headers=[("x-amz-meta-note", "n" * 700)])) >= bare + 700


def test_a_body_is_charged_whole_from_its_first_byte_on() -> None:
    held = entry("k", b"")
    body = MemoryBody(5000)
    empty = charge_of(held.with_body(body))
    body.write(0, b"x")
    assert charge_of(held.with_body(body)) == empty + 5000


def test_the_charge_of_a_head_alone_ignores_the_size_of_the_object() -> None:
    held = entry("k", b"")
    assert charge_of(held.with_body(NoBody(1 << 40))) == charge_of(held)


def test_tiers_charge_what_the_caller_does_not() -> None:
    memory = MemoryTier(100 * KIB, 100 * KIB)
    tiers = Tiers(memory)
    held = entry("a", b"x" * 100)
    assert tiers.put(held)
    assert memory.statistics().bytes == charge_of(held)
    assert tiers.put(held, 77)
    assert memory.statistics().bytes == 77


def test_tiers_hold_replace_and_forget_as_their_memory_does() -> None:
    tiers = Tiers(MemoryTier(100 * KIB, 100 * KIB))
    old = entry("a")
    fresh = replace(old, response_time=2e9)
    assert not tiers.replace(fresh)
    tiers.put(old)
    assert tiers.get("a") is old
    assert tiers.replace(fresh)
    assert list(tiers) == [fresh]
    assert tiers.remove("a") is fresh
    assert tiers.get("a") is None


def test_clearing_tiers_forgets_variants_too() -> None:
    tiers = Tiers(MemoryTier(100 * KIB, 100 * KIB))
    tiers.put(entry("a"))
    tiers.remember_vary("a", ("accept",))
    assert tiers.vary_of("a") == ("accept",)
    tiers.clear()
    assert (list(tiers), tiers.vary_of("a")) == ([], None)


def test_the_last_response_decides_what_a_key_varies_by() -> None:
    variants = Variants()
    variants.remember_vary("a", ("accept",))
    variants.remember_vary("a", ("accept", "origin"))
    assert variants.vary_of("a") == ("accept", "origin")


def test_a_spec_remembered_again_counts_once() -> None:
    variants = Variants(4)
    for key in ("a", "b", "c", "a"):  # the third starts a generation
        variants.remember_vary(key, ("accept",))
    assert len(variants) == 3


@pytest.mark.parametrize("turn", [0, 1], ids=["young", "old"])
def test_a_response_that_varies_no_more_is_forgotten(turn: int) -> None:
    variants = Variants(4)
    variants.remember_vary("a", ("accept",))
    for number in range(turn * 2):
        variants.remember_vary(f"other{number}", ("accept",))
    variants.remember_vary("a", ())
    assert variants.vary_of("a") is None


def test_variants_never_remember_more_than_their_bound() -> None:
    variants = Variants(8)
    for number in range(100):
        variants.remember_vary(f"k{number}", ("accept",))
        assert len(variants) <= 8
    assert variants.vary_of("k99") == ("accept",)
    assert variants.vary_of("k0") is None


def test_a_spec_in_use_is_not_pushed_out_by_others() -> None:
    variants = Variants(8)
    variants.remember_vary("hot", ("accept",))
    for number in range(100):
        variants.remember_vary(f"k{number}", ("origin",))
        assert variants.vary_of("hot") == ("accept",)
        assert len(variants) <= 8


def test_a_key_that_nothing_selects_is_its_own_variant() -> None:
    assert variant_key("bucket\0key", ()) == "bucket\0key"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param([("accept", None)], [("accept", "")], id="absent is not empty"),
        pytest.param([("accept", "a")], [("accept", "b")], id="another value"),
        pytest.param([("accept", "a")], [("origin", "a")], id="another field"),
        pytest.param([("accept", "a=b")], [("accept", "a"), ("b", None)], id="a value that looks like a field"),
        pytest.param([("a", None), ("b", "x")], [("a", "x"), ("b", None)], id="which of two is absent"),
    ],
)
def test_no_two_variants_share_a_key(one: list[tuple[str, str | None]], other: list[tuple[str, str | None]]) -> None:
    assert variant_key("k", one) != variant_key("k", other) != "k"
