"""Every structure of a shard is read and unpacked about once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.reading_cost import LIMIT, cost_of, shards


@pytest.mark.slow
def test_each_byte_of_a_shard_is_read_about_once(tmp_path: Path) -> None:
    costs = {}
    for name, path, plain, choice in shards(tmp_path, 320):
        cost = cost_of(path, choice)
        assert cost.records >= 320
        costs[name] = max(cost.read / path.stat().st_size, cost.unpacked / plain)
    assert len(costs) == 23
    assert {name: cost for name, cost in costs.items() if not 1 <= cost <= LIMIT} == {}
