"""A folder of numba's cache for each state of the compiled functions.

numba renews the cache of a function when that function's own file changes. It does not notice a
change of a function that was inlined from another file, or of a constant that was imported, and
would run the old code. Tests therefore keep one cache for each state of all files that compiled
functions consist of: the modules with such functions, and the modules that these import.
"""

from __future__ import annotations

import ast
import hashlib
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".numba-cache"
KEPT = 4
"""Caches that are kept, the ones used last."""

COMPILES = re.compile(r"^from (numba|underpaint\.codec\.runtime\.jit) import", re.MULTILINE)


def cache_folder() -> Path:
    """The cache folder of the sources as they are now; older ones are deleted."""
    folder = FOLDER / digest()
    folder.mkdir(parents=True, exist_ok=True)
    folder.touch()
    caches = sorted(FOLDER.iterdir(), key=lambda path: path.stat().st_mtime)
    for old in caches[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def digest() -> str:
    """Hash of the code that compiled functions consist of, without comments and docstrings."""
    found = hashlib.sha256()
    for path in sorted(compiled_from()):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                node.value.value = None
        found.update(f"{path.relative_to(ROOT)}\n{ast.dump(tree)}\n".encode())
    return found.hexdigest()[:16]


def compiled_from() -> set[Path]:
    """Modules of `codec` that have compiled functions, and all modules of it that they import."""
    sources = {path: path.read_text("utf-8") for path in (ROOT / "codec").rglob("*.py")}
    waiting = [path for path, text in sources.items() if COMPILES.search(text)]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(sources[path])
    return found


def _imported(source: str) -> list[Path]:
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
    paths = []
    for name in names:
        if name.startswith("underpaint.codec."):
            base = ROOT.joinpath(*name.split(".")[1:])
            paths += [base.with_suffix(".py"), base / "__init__.py"]
    return [path for path in paths if path.is_file()]
