"""ChunkFile: the fetched ranges of a file, as a file that pyarrow reads."""

from __future__ import annotations

from collections.abc import Sequence


class ChunkFile:
    """A file of `size` bytes of which only some ranges are available; pyarrow reads from it."""

    def __init__(self, size: int, parts: Sequence[tuple[int, bytes]]) -> None:
        self._size, self._parts, self._at = size, parts, 0
        self.closed = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return False."""
        return False

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position, as in `io`."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, length: int = -1) -> memoryview:
        """Return the next bytes without a copy; OSError if they were not fetched."""
        stop = self._size if length < 0 else min(self._at + length, self._size)
        for start, data in self._parts:
            if start <= self._at and stop <= start + len(data):
                view = memoryview(data)[self._at - start : stop - start]
                self._at = stop
                return view
        raise OSError(f"bytes {self._at} to {stop} were not fetched")

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Mark as closed."""
        self.closed = True
