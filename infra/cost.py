"""Cost and time of a million images by machine type, from measured rates and current prices.

    python infra/cost.py --prices prices.json measured.csv --workers 8

The script contains neither rates nor prices: both change, and depend on photos and region.

measured.csv has one line for each machine type. The rate is that of one worker, from `job.json`
of a run (`counts.images / seconds`) or from `underpaint benchmark` on such a machine:

    machine,vcpus,memory_gb,disk_gb,gpu,images_per_second
    g2-standard-8,8,32,100,nvidia-l4,…
    n2-highmem-8,8,64,100,,…

prices.json holds prices of Dataflow in your region, with the source and the date:

    {"read": "https://cloud.google.com/dataflow/pricing, europe-west4, …", "currency": "USD",
     "vcpu_hour": …, "memory_gb_hour": …, "disk_gb_hour": …, "gpu_hour": {"nvidia-l4": …}}

Storage, operations on objects, and traffic between regions are not included.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import dataclass, fields
from typing import Any


class Mistake(Exception):
    """A file has a wrong form."""


@dataclass(frozen=True)
class Machine:
    """A measured worker; `gpu` is "" for none."""

    machine: str
    vcpus: float
    memory_gb: float
    disk_gb: float
    gpu: str
    images_per_second: float


@dataclass(frozen=True)
class Prices:
    """Prices of Dataflow, each for one hour."""

    read: str
    currency: str
    vcpu_hour: float
    memory_gb_hour: float
    disk_gb_hour: float
    gpu_hour: dict[str, float]

    def of(self, machine: Machine) -> float:
        """Price of one worker for an hour; Mistake where its GPU has none."""
        if machine.gpu and machine.gpu not in self.gpu_hour:
            raise Mistake(f"no price of an hour of {machine.gpu}")
        return (
            machine.vcpus * self.vcpu_hour
            + machine.memory_gb * self.memory_gb_hour
            + machine.disk_gb * self.disk_gb_hour
            + (self.gpu_hour[machine.gpu] if machine.gpu else 0.0)
        )


@dataclass(frozen=True)
class Cost:
    """What a job costs on workers of one machine type."""

    machine: Machine
    hours: float
    """From the start of the job to its end."""
    an_hour: float
    """Of all workers."""
    total: float


def cost(
    machine: Machine, prices: Prices, *, images: float, workers: int, startup_minutes: float
) -> Cost:
    """The cost of a job; workers are paid for while they start."""
    hours = images / (machine.images_per_second * workers) / 3600 + startup_minutes / 60
    an_hour = prices.of(machine) * workers
    return Cost(machine, hours, an_hour, hours * an_hour)


def read_machines(path: str) -> list[Machine]:
    """The lines of a CSV file; Mistake where one lacks a value or has a wrong one."""
    with open(path, newline="", encoding="utf-8") as file:
        return [_machine(row, number) for number, row in enumerate(csv.DictReader(file), 2)]


def _machine(row: dict[str, Any], number: int) -> Machine:
    try:
        texts = {field.name: row[field.name].strip() for field in fields(Machine)}
        words = {name: texts.pop(name) for name in ("machine", "gpu")}
        machine = Machine(**words, **{name: float(text) for name, text in texts.items()})
    except (KeyError, AttributeError, ValueError) as error:
        raise Mistake(f"line {number}: {type(error).__name__} {error}") from None
    if machine.images_per_second <= 0:
        raise Mistake(f"line {number}: images_per_second must be above 0")
    return machine


def read_prices(path: str) -> Prices:
    """The prices of a JSON file; Mistake where one is missing."""
    with open(path, encoding="utf-8") as file:
        value = json.load(file)
    try:
        return Prices(**{field.name: value[field.name] for field in fields(Prices)})
    except (KeyError, TypeError) as error:
        raise Mistake(f"{path}: no {error}") from None


def table(costs: list[Cost], prices: Prices, images: float) -> str:
    """The costs as a Markdown table, the cheapest first."""
    head = ("machine", "GPU", "images/s a worker", "hours", f"{prices.currency} an hour")
    rows = [(*head, f"{prices.currency} for {images:,.0f} images")]
    rows.append(tuple("---" for _ in rows[0]))
    for each in sorted(costs, key=lambda cost: cost.total):
        machine = each.machine
        rate = f"{machine.images_per_second:,.1f}"
        numbers = (f"{each.hours:,.2f}", f"{each.an_hour:,.2f}", f"{each.total:,.2f}")
        rows.append((machine.machine, machine.gpu or "none", rate, *numbers))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    """Print the table; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measured", help="CSV file of machines and their rates")
    parser.add_argument("--prices", required=True, help="JSON file of prices")
    parser.add_argument("--images", type=float, default=1e6, help="(default one million)")
    parser.add_argument("--workers", type=int, default=1, help="of a job (default 1)")
    parser.add_argument(
        "--startup-minutes", type=float, default=0, help="paid for before the first image"
    )
    given = parser.parse_args()
    try:
        prices = read_prices(given.prices)
        costs = [
            cost(
                machine,
                prices,
                images=given.images,
                workers=given.workers,
                startup_minutes=given.startup_minutes,
            )
            for machine in read_machines(given.measured)
        ]
    except (Mistake, OSError, ValueError) as error:
        print(f"cost: {error}", file=sys.stderr)
        return 2
    print(table(costs, prices, given.images))
    print(f"\n{given.workers} workers; prices: {prices.read}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
