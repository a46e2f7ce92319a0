"""HashTable finds what it was given, nothing else, however little memory its builder has."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from underpaint.codec.storage.files import Storage
from underpaint.transforms import hash_table
from underpaint.transforms.hash_table import HashTable, HashTableBuilder, batches, short_hashes

texts = st.text(st.characters(codec="utf-8"), max_size=12)
budgets = st.sampled_from([1, 2, 3, 7, 20, 1000])


@settings(deadline=None)
@given(st.lists(texts, max_size=50), st.sets(texts, max_size=50), budgets)
def test_membership_is_that_of_a_set(held: list[str], others: set[str], budget: int) -> None:
    builder = HashTableBuilder(held_rows=budget)
    for batch in batches(held, 4):
        builder.append(batch)
    found = builder.table()
    assert len(found) == len(held)
    assert all(text in found for text in held)
    assert not any(text in found for text in others - set(held))
    assert len(builder.table()) == 0


@settings(deadline=None)
@given(st.lists(st.tuples(texts, st.integers(0, 2**32 - 1)), max_size=50), budgets)
def test_every_row_of_a_text_is_found(rows: list[tuple[str, int]], budget: int) -> None:
    builder = HashTableBuilder(("value", "other"), budget)
    for batch in batches(rows, 7):
        values = np.array([value for _, value in batch])
        builder.append([text for text, _ in batch], value=values, other=values >> 1)
    table = builder.table()
    for text in {text for text, _ in rows}:
        wanted = sorted(value for other, value in rows if other == text)
        found = table.find(text)
        assert sorted(found["value"]) == wanted
        assert (found["value"] >> 1).tolist() == found["other"].tolist()


@settings(deadline=None, max_examples=30)
@given(st.lists(texts, max_size=60), budgets)
def test_a_table_is_the_same_with_any_memory(rows: list[str], budget: int) -> None:
    numbers = np.arange(len(rows), dtype=np.uint32)
    tables = []
    for held in (budget, 1 << 20):
        builder = HashTableBuilder(("number",), held)
        builder.append(rows, number=numbers)
        tables.append(builder.table())
    for name, array in tables[0].arrays.items():
        np.testing.assert_array_equal(array, tables[1].arrays[name])
        assert array.dtype == tables[1].arrays[name].dtype


def test_never_more_rows_in_memory_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    sorted_rows = []
    known = hash_table._sorted

    def spy(parts, columns):  # type: ignore[no-untyped-def]
        found = known(parts, columns)
        sorted_rows.append(len(found["high"]))
        return found

    monkeypatch.setattr(hash_table, "_sorted", spy)
    builder = HashTableBuilder(held_rows=1000)
    for batch in batches(map(str, range(20_000)), 300):
        builder.append(batch)
    assert len(builder.table()) == 20_000
    assert len(sorted_rows) > 20
    assert max(sorted_rows) <= 1000


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """A local folder, and one from which files must be copied before they are mapped."""
    if request.param == "local":
        yield Storage(tmp_path)
    else:
        root = f"memory://{uuid4().hex}"
        yield Storage(root)
        fsspec.filesystem("memory").rm(root, recursive=True)


@pytest.mark.parametrize("rows", [0, 1, 50])
def test_a_stored_table_is_found_again(
    storage: Storage, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_table, "COPIED_BYTES", 100)
    builder = HashTableBuilder(("value",), 8)
    builder.append([str(row) for row in range(rows)], value=np.arange(rows))
    builder.table().store(storage, "plan/table")
    assert sorted(storage.names("plan")) == ["table.high", "table.low", "table.value"]
    assert HashTable.files("plan/table", ("value",)) == [
        "plan/table.high", "plan/table.low", "plan/table.value",
    ]  # fmt: skip
    table = HashTable.load(storage, "plan/table", ("value",))
    assert len(table) == rows
    assert [table.find(str(row))["value"].tolist() for row in range(rows + 1)] == [
        *([row] for row in range(rows)), [],
    ]  # fmt: skip
    with pytest.raises(FileNotFoundError):
        HashTable.load(storage, "plan/none")


def test_rows_that_share_half_a_hash_are_told_apart() -> None:
    table = HashTable.of(["a", "b", "c"])
    arrays = {name: array.copy() for name, array in table.arrays.items()}
    arrays["high"][:] = arrays["high"][1]
    same = HashTable(arrays)
    assert [text in same for text in "abc"].count(True) == 1


def test_a_column_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="value: 1 values for 2 texts"):
        HashTableBuilder(("value",)).append(["a", "b"], value=[1])


def test_a_row_of_four_columns_takes_32_bytes() -> None:
    builder = HashTableBuilder("abcd")
    builder.append(["x"] * 1000, **{name: np.zeros(1000, np.uint32) for name in "abcd"})
    assert sum(array.nbytes for array in builder.table().arrays.values()) == 32_000
    assert len(set(short_hashes(map(str, range(1000))))) == 1000


MEASURED = """
from underpaint.transforms.hash_table import HashTableBuilder, batches

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

before = most = anonymous()
builder = HashTableBuilder(held_rows=1 << 15)
for batch in batches(map(str, range(400_000))):
    builder.append(batch)
    most = max(most, anonymous())
table = builder.table()
assert "399999" in table and "400000" not in table
print(max(most, anonymous()) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_rows() -> None:
    """400,000 rows are 6.4 MB; 32,768 are half a megabyte, several times while they are sorted."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", MEASURED], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 5_000  # kilobytes
