"""Checkpoints of a training: modules, the moments of an optimiser, and the step."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

log = logging.getLogger(__name__)


def save_checkpoint(
    folder: Path, step: int, modules: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer
) -> None:
    """Write a checkpoint into a folder, in place of the one before."""
    tensors = {
        f"{part}.{name}": tensor
        for part, module in modules.items()
        for name, tensor in module.state_dict().items()
    }
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"moments.{index}.{name}": value for name, value in moments.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(tensors, folder / "next.safetensors")
    (folder / "next.safetensors").replace(folder / "state.safetensors")
    (folder / "state.json").write_text(json.dumps({"step": step}))


def restore_checkpoint(
    folder: Path, modules: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer
) -> int:
    """Load the checkpoint of a folder, if there is one; return its step, else 0."""
    if not (folder / "state.json").exists():
        return 0
    parts: dict[str, dict[str, torch.Tensor]] = {part: {} for part in (*modules, "moments")}
    for name, tensor in load_file(folder / "state.safetensors").items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    for part, module in modules.items():
        module.load_state_dict(parts[part])
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in parts["moments"].items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    known = optimiser.state_dict()
    optimiser.load_state_dict({"state": state, "param_groups": known["param_groups"]})
    step: int = json.loads((folder / "state.json").read_text())["step"]
    log.info("resumed at step %d", step)
    return step
