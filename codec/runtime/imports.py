"""Faster imports of large packages."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from types import ModuleType


@contextmanager
def without_collection(*, freeze: bool = False) -> Iterator[None]:
    """Pause the garbage collector; also a decorator.

    Modules make objects by the hundred thousand, almost all of them for good. Beam, torch and numba
    are imported in three quarters of the time if the collector does not look through them again and
    again. With `freeze`, later collections skip all objects of the process too, garbage included:
    for processes that have only just started.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if freeze:
            gc.freeze()
        if was_enabled:
            gc.enable()


class _Hider(MetaPathFinder):
    """Finds no package of one name, and says so before other finders are asked."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        """Raise ModuleNotFoundError for the hidden package."""
        if fullname == self._name:
            raise ModuleNotFoundError(f"no module named {fullname!r}", name=fullname)


@contextmanager
def hidden(name: str) -> Iterator[None]:
    """Make a package look as if it were not installed, unless it is imported already."""
    hider = _Hider(name)
    sys.meta_path.insert(0, hider)
    try:
        yield
    finally:
        sys.meta_path.remove(hider)


def keep_pandas_from_arrow() -> None:
    """Let pyarrow work without pandas in this process.

    pyarrow would import it, where it is installed, at the first array: 0.2 s for a command that has
    no use for it. `to_pandas` fails from then on.
    """
    import pyarrow as pa

    with hidden("pandas"):
        pa.scalar(0)
