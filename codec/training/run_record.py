"""The settings that a run folder was started with, so that no run goes on with others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from underpaint.codec.errors import UsageError
from underpaint.codec.training.semantic_layers import extractor_label
from underpaint.codec.training.settings import LiftingPlan, Recipe, TrainingPlan

RECORD = "settings.json"
"""Name of the record in a run folder."""

_MOST_NAMED = 4


def run_record(run: Path, recipe: Recipe, plan: TrainingPlan, lifting: LiftingPlan) -> str:
    """Return the record of a run as JSON; UsageError if the folder was started with other settings.

    The number of steps may change; the record lists all numbers. Nothing is written: the record is
    to be written when the run has all that it needs, so that a wrong start leaves no folder.
    """
    settings: dict[str, Any] = {"recipe": asdict(recipe), "plan": asdict(plan)}
    if lifting.lifting_steps:
        settings["lifting"] = asdict(lifting)
    settings["recipe"]["extractor"] = extractor_label(recipe.extractor)
    settings = json.loads(json.dumps(settings))
    lengths = [plan.steps]
    path = run / RECORD
    if path.exists():
        known = _read(path)
        before = known.pop("steps_asked_for", [known["plan"]["steps"]])
        lengths = before if before[-1] == plan.steps else [*before, plan.steps]
        known["plan"]["steps"] = plan.steps
        if other := list(_differences(known, settings)):
            more = f" and {len(other) - _MOST_NAMED} more" if len(other) > _MOST_NAMED else ""
            raise UsageError(
                f"{run} was started with other settings: {', '.join(other[:_MOST_NAMED])}{more}; "
                "give those again, another --run-folder, or delete this one to start anew"
            )
    settings["steps_asked_for"] = lengths
    return json.dumps(settings, indent=2) + "\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text("utf-8"))
        known["plan"]["steps"], known["recipe"]
    except (ValueError, LookupError, TypeError):
        raise UsageError(
            f"{path}: not the record of a run; give another --run-folder or delete this one"
        ) from None
    return dict(known)


def _differences(known: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs, such as "--masking 0.8, now 0.1"."""
    for part in ("recipe", "plan", "lifting"):
        before, after = known.get(part, {}), now.get(part, {})
        if not before or not after:
            if before != after:
                yield f"a learned lifting step {'before' if before else 'now'} alone"
            continue
        for name in {**before, **after}:
            values = before.get(name), after.get(name)
            if values[0] != values[1]:
                yield f"--{name.replace('_', '-')} {_shown(values[0])}, now {_shown(values[1])}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "not known" if value is None else str(value)
