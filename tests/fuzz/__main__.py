"""Fuzz one harness: `python -m tests.fuzz HARNESS --seconds 3600`, from the root of the project.

Prints executions and peak memory; exit status 1, and the input and its traceback, where something
else than a named error came out, or one input took more than a gigabyte or two minutes. Needs the
extra `fuzz`. Seeds are the conformance vectors and small files made on the spot; with --corpus,
what was found to reach new code is kept and is where the next run begins.
"""

from __future__ import annotations

import argparse
import importlib.util
import operator
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]

MEMORY_MB = 1024
INPUT_SECONDS = 120
"""By the clock: a busy machine may take long over what is a second's work."""

COMPILED = tuple(
    ".".join(("underpaint", *path.relative_to(ROOT).with_suffix("").parts))
    for path in sorted((ROOT / "codec").rglob("*.py"))
    if re.search(
        r"^(from numba|from underpaint\.codec\.runtime\.jit) import", path.read_text(), re.MULTILINE
    )
)
"""Modules whose functions numba compiles: it cannot read instrumented code."""


def main() -> int:
    from tests.fuzz.harnesses import HARNESSES

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("harness", choices=sorted(HARNESSES))
    parser.add_argument("--seconds", type=int, default=60, help="(default 60)")
    parser.add_argument("--corpus", type=Path, help="folder of inputs to begin with and add to")
    parser.add_argument("--artifacts", type=Path, default=Path(), help="where findings are put")
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed: the extra fuzz installs it")
    harness = HARNESSES[arguments.harness]
    with tempfile.TemporaryDirectory(prefix="underpaint-fuzz-") as scratch:
        seeds = Path(scratch, "seeds")
        seeds.mkdir()
        for number, seed in enumerate(harness.seeds()):
            (seeds / f"seed-{number:03}").write_bytes(seed)
        for path in sorted((FOLDER / "found" / arguments.harness).glob("*")):
            shutil.copyfile(path, seeds / f"found-{path.name}")
        corpus = arguments.corpus or Path(scratch, "corpus")
        corpus.mkdir(parents=True, exist_ok=True)
        arguments.artifacts.mkdir(parents=True, exist_ok=True)
        options = [
            f"-max_total_time={arguments.seconds}",
            f"-rss_limit_mb={MEMORY_MB}",
            f"-timeout={INPUT_SECONDS}",
            f"-max_len={harness.longest}",
            f"-artifact_prefix={arguments.artifacts}/{arguments.harness}-",
            "-print_final_stats=1",
        ]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            # code compiled with other checks has a cache of its own
            "NUMBA_CACHE_DIR": f"{tempfile.gettempdir()}/underpaint-fuzz-numba",
            **harness.environment,
        }
        child = "from tests.fuzz.__main__ import fuzz; fuzz()"
        log = Path(scratch, "log")
        with open(log, "wb") as output:
            status = subprocess.run(
                [sys.executable, "-c", child, arguments.harness, *options, corpus, seeds],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            ).returncode
        return report(arguments.harness, status, log.read_text("utf-8", "replace"))


def report(name: str, status: int, log: str) -> int:
    """Print what a run did, and the end of its log where it failed; the exit status."""
    found = dict(re.findall(r"^stat::(\w+):\s+(\d+)$", log, re.MULTILINE))
    executions, peak = (int(found.get(k, 0)) for k in ("number_of_executed_units", "peak_rss_mb"))
    seconds = re.search(r"Done \d+ runs in (\d+) second", log)
    took = f" in {int(seconds[1]):,} s" if seconds else ""
    good = status == 0 and executions > 0 and peak <= MEMORY_MB
    verdict = "no finding" if good else f"FAILED (exit status {status})"
    print(f"{name}: {executions:,} executions{took}, peak memory {peak:,} MB, {verdict}")
    if not good:
        lines = [line for line in log.splitlines() if not line.startswith(("INFO: Instr", "#"))]
        print("\n".join(lines[-60:]))
    return 0 if good else 1


@cache
def trace_plain_comparisons() -> None:
    """Let atheris see comparisons of numbers and texts alone, which are what it learns from.

    It calls a function of its own for each comparison in instrumented code, and that never gives
    up its reference to the result. True and False do not mind; but arrays and tensors compare to
    new ones, all of which would stay: some 40 kB for each input of `stream` and `weights`. Works
    from the first input on: `atheris.Fuzz` puts its own function in place when it starts.
    """
    import atheris

    traced, shift = atheris._trace_cmp, atheris.version_dependent.CMP_OP_SHIFT_AMOUNT
    compare = operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge
    plain = int, bytes, str

    def trace(left: object, right: object, operation: int, *where: object) -> object:
        if isinstance(left, plain) and isinstance(right, plain):
            return traced(left, right, operation, *where)
        return compare[operation >> shift](left, right)

    atheris._trace_cmp = trace


def fuzz() -> None:
    """Run libFuzzer in this process; it does not return."""
    import atheris

    name, *options = sys.argv[1:]
    plain = os.environ.get("NUMBA_DISABLE_JIT") == "1"
    exclude = [] if plain else list(COMPILED)
    with atheris.instrument_imports(include=["codec", "PIL"], exclude=exclude):
        from tests.fuzz.harnesses import HARNESSES
    run: Callable[[bytes], None] = HARNESSES[name].run
    for seed in HARNESSES[name].seeds():
        run(seed)  # compiles what is compiled, which no input is to be charged for

    def run_traced(data: bytes) -> None:
        trace_plain_comparisons()
        run(data)

    atheris.Setup([sys.argv[0], *options], run_traced)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
