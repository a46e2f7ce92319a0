"""A list on disk of what was read while inputs were listed, so that nothing is read twice."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from typing import Any


class Spool:
    """Values of JSON, appended and gone through again, with little memory.

    It stays in the process that made it; pickled, it is empty.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115

    def __reduce__(self) -> tuple[Any, ...]:
        return (Spool, ())

    def append(self, value: Any) -> None:
        """Add one at the end."""
        self._file.write(json.dumps(value) + "\n")

    def __iter__(self) -> Iterator[Any]:
        self._file.seek(0)
        for line in self._file:
            yield json.loads(line)
