"""Units and keys: names from inputs alone, one JSON line each, keys the archive takes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from underpaint.codec import limits
from underpaint.codec.archive.rows import check_key
from underpaint.transforms.records import (
    Item,
    Retry,
    Shard,
    Span,
    WorkUnit,
    clean_key,
    unit_of_items,
    unit_of_span,
)

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)


@settings(deadline=None)
@given(st.lists(st.builds(Item, names, names, st.integers(-1, 1 << 40)), min_size=1, max_size=5))
def test_a_unit_of_items_comes_back_from_json(items: list[Item]) -> None:
    unit = unit_of_items(items)
    assert WorkUnit.from_json(unit.to_json()) == unit


def test_a_retry_comes_back_from_json() -> None:
    span = Span(start=512, stop=4096, first=3, records=4, size=3584, broken="cut")
    unit = unit_of_span(Shard("/data/a.tar", "a", 9000, source=1), span, "x")
    retry = Retry(unit.name, 2, ("k1", "k2"), (("k", "u", "s", "e", "m", "t"),)).of(unit)
    assert WorkUnit.from_json(retry.to_json()) == retry
    assert retry.name == f"{unit.name}-retry2"


def test_names_of_units_depend_on_inputs_only() -> None:
    items = [Item("a.jpg", "/x/a.jpg", 10), Item("b.jpg", "/x/b.jpg", 20)]
    assert unit_of_items(items).name == unit_of_items(tuple(items)).name
    for changed in (
        [items[0]],
        [items[0], Item("b.jpg", "/y/b.jpg", 20)],
        [items[0], Item("b.jpg", "/x/b.jpg", 21)],
        [items[0], Item("c.jpg", "/x/b.jpg", 20)],
    ):
        assert unit_of_items(changed).name != unit_of_items(items).name


@settings(deadline=None)
@given(
    st.one_of(
        st.text(min_size=1),
        st.binary(min_size=1).map(lambda b: b.decode("utf-8", "surrogateescape")),
    )
)
def test_a_clean_key_is_one_the_archive_takes(text: str) -> None:
    check_key(clean_key(text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")))


def test_long_keys_stay_distinct() -> None:
    long = "x" * 2 * limits.MAX_KEY_BYTES
    assert clean_key(long + "a") != clean_key(long + "b")
    assert clean_key("ordinary/path.jpg") == "ordinary/path.jpg"
    assert clean_key("new\nline") == "new%0Aline"
