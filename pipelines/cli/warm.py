"""`underpaint warm`: compile the inner loops ahead of their first use."""

from __future__ import annotations

import argparse

EXAMPLES = """\
  underpaint warm
  NUMBA_CACHE_DIR=/tmp/numba underpaint warm
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    subparsers.add_parser(
        "warm",
        help="compile the inner loops ahead of their first use",
        description="Compile the inner loops of the codec for this machine and keep them in "
        "numba's cache. It takes one to two minutes, once after each installation; the first "
        "command that needs them does the same otherwise.",
        epilog="The environment variable NUMBA_CACHE_DIR names another folder for the cache.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Compile what is not cached; 0 where it can be kept, else 1."""
    import time

    from underpaint.codec.reconstruct.preload import load_groups, mark_as_cached, numba_folder
    from underpaint.codec.runtime import compilation

    folder = numba_folder()
    if folder is None:
        print("no folder for numba's cache is writable: set NUMBA_CACHE_DIR to one")
        return 1
    compilation.announce(None)  # the lines below tell the same
    begin = time.perf_counter()
    for group in load_groups():
        if group.compiled:
            print(_line(group.name, group.compiled, group.seconds), flush=True)
    mark_as_cached()
    functions, seconds = compilation.functions_compiled(), time.perf_counter() - begin
    if functions:
        print(_line("total", functions, seconds))
    else:
        print("all functions are cached")
    print(f"cache: {folder}")
    return 0


def _line(name: str, functions: int, seconds: float) -> str:
    return f"{name:<22} compiled {functions:>3} functions in {seconds:5.1f} s"
