"""A helper process that turns source bytes into pixels: `python -m
underpaint.transforms.picture_process`.

Decoders of pictures are old C code fed with bytes from strangers. Here they may run out of time,
out of memory or crash, and it costs one picture: `PictureReader` kills and replaces the process.

    request   u64 length, source bytes
    response  u32 length, JSON {"height", "width", "format", "notes"} or {"error", "message",
              "trace"}; then height x width x 3 bytes of pixels (none after an error)
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import struct
import subprocess
import sys
import threading
import traceback
from typing import IO, Any

import numpy as np

from underpaint.codec import errors
from underpaint.codec.errors import PictureDamaged, PictureError, PictureTooLarge
from underpaint.codec.image_io.read import Picture, read_picture
from underpaint.codec.limits import MAX_PIXELS
from underpaint.codec.runtime.child_process import python_command

_REQUEST = struct.Struct("<Q")
_RESPONSE = struct.Struct("<I")


class PictureTimeout(PictureError):
    """A picture took longer to decode than it is given."""


class PictureReader:
    """`codec.image_io.read.read_picture` in a helper process; not for several threads at once.

    Args:
        timeout_s: seconds one picture may take.
        most_pixels: a picture of more is refused.
        memory: bytes the helper may use beyond what it starts with.
    """

    def __init__(
        self, *, timeout_s: float = 60.0, most_pixels: int = MAX_PIXELS, memory: int = 4 << 30
    ) -> None:
        self._timeout_s = timeout_s
        self._limits = (str(most_pixels), str(memory))
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, data: bytes) -> Picture:
        """The picture; errors as `read_picture`, and PictureTimeout."""
        process = self.start()
        late = threading.Event()

        def expire() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._timeout_s, expire)
        timer.daemon = True
        timer.start()
        try:
            return _ask(process, data)
        except (OSError, EOFError) as error:
            self.close()
            if late.is_set():
                raise PictureTimeout(f"not decoded in {self._timeout_s:g} s") from None
            status = process.returncode
            raise PictureDamaged(f"the decoder ended with status {status}") from error
        finally:
            timer.cancel()

    def close(self) -> None:
        """End the helper."""
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def start(self) -> subprocess.Popen[bytes]:
        """The helper, started unless it runs; it need not be waited for."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                python_command("underpaint.transforms.picture_process", *self._limits),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        return self._process


def _ask(process: subprocess.Popen[bytes], data: bytes) -> Picture:
    assert process.stdin
    assert process.stdout
    process.stdin.write(_REQUEST.pack(len(data)))
    process.stdin.write(data)
    process.stdin.flush()
    (length,) = _RESPONSE.unpack(_exactly(process.stdout, _RESPONSE.size))
    answer = json.loads(_exactly(process.stdout, length))
    if "error" in answer:
        kind = getattr(errors, answer["error"], PictureDamaged)
        error = kind(answer["message"])
        error.add_note(answer["trace"]) if hasattr(error, "add_note") else None
        raise error
    shape = (answer["height"], answer["width"], 3)
    view = memoryview(mmap.mmap(-1, math.prod(shape)))  # goes back to the system with the picture
    pixels = np.frombuffer(view, np.uint8).reshape(shape)
    while view:
        count = process.stdout.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        view = view[count:]
    return Picture(pixels, answer["format"], tuple(answer["notes"]))


def serve(requests: IO[bytes], responses: IO[bytes], most_pixels: int) -> None:
    """Answer requests until there are no more."""
    while head := requests.read(_REQUEST.size):
        (length,) = _REQUEST.unpack(head)
        answer, pixels = _answer(_exactly(requests, length), most_pixels)
        text = json.dumps(answer).encode()
        responses.write(_RESPONSE.pack(len(text)) + text)
        if pixels is not None:
            responses.write(np.ascontiguousarray(pixels).data)
        responses.flush()


def _answer(data: bytes, most_pixels: int) -> tuple[dict[str, Any], np.ndarray | None]:
    try:
        picture = read_picture(data)
        height, width, _ = picture.pixels.shape
        if height * width > most_pixels:
            raise PictureTooLarge(
                f"{width} x {height} pixels: the memory given has room for {most_pixels}"
            )
    except (PictureError, MemoryError) as error:
        kind = type(error).__name__
        if isinstance(error, MemoryError):
            kind = PictureTooLarge.__name__
        message = str(error) or "needs more memory than a worker may use"
        return {"error": kind, "message": message, "trace": traceback.format_exc(limit=4)}, None
    answer = {"height": height, "width": width, "format": picture.format}
    return {**answer, "notes": picture.notes}, picture.pixels


def _exactly(file: IO[bytes], length: int) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise EOFError
    return data


def limit_memory(extra: int) -> None:
    """Let this process take `extra` more bytes of address space than it has, where Linux runs."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = used + extra
        if hard == resource.RLIM_INFINITY or limit <= hard:
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    except (ImportError, OSError, ValueError):
        return


def main() -> None:
    """Serve on standard input and output."""
    most_pixels, memory = map(int, sys.argv[1:3])
    limit_memory(memory)
    requests, responses = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)  # what a decoder prints goes to standard error, not into the answers
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt, EOFError):
        serve(requests, responses, most_pixels)


if __name__ == "__main__":
    main()
