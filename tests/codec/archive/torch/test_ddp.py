"""A real DistributedDataParallel job of four processes ends its epochs, stops and resumes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.streams import framed
from underpaint.codec.archive import ArchiveWriter, Row, publish
from underpaint.codec.bitstream import PictureHeader

RANKS, ROWS, BATCH = 4, 30, 3

JOB = """
import datetime, json, os, sys
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader
from underpaint import LayerDataset

root, folder, workers, stop = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
rank = dist.get_rank()
dataset = LayerDataset(root, output="bytes", seed=2, window_bytes=900)
assert (dataset.rank, dataset.world_size) == (rank, 4)
if os.path.exists(f"{folder}/state-0.json"):
    dataset.load_state_dict([json.load(open(f"{folder}/state-{r}.json")) for r in range(4)])
network = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1))
seen, steps = [], 0
for epoch in range(dataset.epoch, 3):
    dataset.set_epoch(epoch)
    loader = DataLoader(dataset, batch_size=3, num_workers=workers, collate_fn=list)
    for batch in loader:
        network(torch.ones(len(batch), 1)).sum().backward()
        seen += [(epoch, sample["key"]) for sample in batch]
        dataset.acknowledge([sample["position"] for sample in batch])
        steps += 1
        if steps == stop:
            break
    if steps == stop:
        break
dist.barrier()
json.dump(dataset.state_dict(), open(f"{folder}/state-{rank}.json", "w"))
json.dump([steps, seen], open(f"{folder}/seen-{rank}.json", "w"))
dist.destroy_process_group()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    [layer] = framed([bytes(16)], PictureHeader(8, 8, "0" * 16))
    for unit in range(2):
        with ArchiveWriter(
            folder, f"{unit}", layers=("a",), weights_id="0" * 16, row_group_bytes=200
        ) as writer:
            for number in range(unit, ROWS, 2):
                writer.add(Row(f"{number:02}", (layer,), 8, 8))
    publish(folder)
    return folder


def run(root: Path, folder: Path, *, workers: int, stop: int) -> tuple[int, list[list[str]]]:
    """Run the job under torchrun; steps of each rank, which must be equal, and all samples."""
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(RANKS), str(folder / "job.py")),
            *(str(root), str(folder), str(workers), str(stop)),
        ],
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    found = [json.loads((folder / f"seen-{rank}.json").read_text()) for rank in range(RANKS)]
    assert len({steps for steps, _ in found}) == 1
    return found[0][0], [sample for _, seen in found for sample in seen]


@pytest.mark.slow
def test_four_ranks_end_and_resume(root: Path, tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(JOB)
    steps, seen = run(root, tmp_path, workers=2, stop=5)  # in the second of three epochs
    assert steps == 5
    more, rest = run(root, tmp_path, workers=1, stop=-1)
    assert more > 0
    for epoch in range(3):
        came = Counter(key for at, key in seen + rest if at == epoch)
        assert len(came) == ROWS
        assert came.total() == RANKS * -(-ROWS // RANKS)
