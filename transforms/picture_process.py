"""A helper process that decodes pictures.

Picture decoders are old C code that runs on untrusted bytes. In the helper they may run out of time
or memory, or crash, and it costs one picture: `PictureReader` kills and replaces the process.

    request   u64 length, source bytes
    response  u32 length, JSON {"height", "width", "format", "notes", "metadata", "exif" (base64)}
              or {"error", "message", "trace"}; then height x width x 3 bytes of pixels (none after
              an error)
"""

from __future__ import annotations

import base64
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
from underpaint.codec.runtime.child_process import deaf_children, python_command

_REQUEST = struct.Struct("<Q")
_RESPONSE = struct.Struct("<I")


class PictureTimeout(PictureError):
    """A picture took longer to decode than the time limit."""


class PictureReader:
    """Runs `codec.image_io.read.read_picture` in a helper process. Not thread-safe.

    Args:
        timeout_s: time limit for one picture in seconds.
        most_pixels: most pixels of a picture; larger ones are refused.
        memory: bytes that the helper may allocate beyond its size at the start.
    """

    def __init__(
        self, *, timeout_s: float = 60.0, most_pixels: int = MAX_PIXELS, memory: int = 4 << 30
    ) -> None:
        self._timeout_s = timeout_s
        self._limits = (str(most_pixels), str(memory))
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, data: bytes) -> Picture:
        """Decode a picture; raises as `read_picture` does, and PictureTimeout."""
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
        """Stop the helper."""
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def start(self) -> subprocess.Popen[bytes]:
        """Return the helper process; start it unless it runs. The caller need not wait for it."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            command = python_command("underpaint.transforms.picture_process", *self._limits)
            with deaf_children():
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
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
    view = memoryview(mmap.mmap(-1, math.prod(shape)))  # unmapped as soon as the picture is freed
    pixels = np.frombuffer(view, np.uint8).reshape(shape)
    while view:
        count = process.stdout.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        view = view[count:]
    exif = base64.b64decode(answer["exif"])
    return Picture(pixels, answer["format"], tuple(answer["notes"]), answer["metadata"], exif)


def serve(requests: IO[bytes], responses: IO[bytes], most_pixels: int) -> None:
    """Answer requests until the input ends."""
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
            raise too_large_for_memory(width, height, most_pixels)
    except (PictureError, MemoryError) as error:
        kind = type(error).__name__
        if isinstance(error, MemoryError):
            kind = PictureTooLarge.__name__
        message = str(error) or "needs more memory than a worker may use"
        return {"error": kind, "message": message, "trace": traceback.format_exc(limit=4)}, None
    answer: dict[str, Any] = {"height": height, "width": width, "format": picture.format}
    answer |= {"notes": picture.notes, "metadata": picture.metadata}
    answer["exif"] = base64.b64encode(picture.exif).decode()
    return answer, picture.pixels


def too_large_for_memory(width: int, height: int, most: int) -> PictureTooLarge:
    """Return the error of a picture that has more pixels than fit the memory of a worker."""
    return PictureTooLarge(
        f"{width} x {height} pixels: too large for the memory of one worker, which has room for "
        f"{most:,} pixels; give more --memory or fewer --workers"
    )


def _exactly(file: IO[bytes], length: int) -> bytes:
    data = file.read(length)
    if len(data) != length:
        raise EOFError
    return data


def limit_memory(extra: int) -> None:
    """Limit this process to `extra` bytes of address space beyond its present size (Linux only)."""
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
    """Serve requests on standard input and output."""
    most_pixels, memory = map(int, sys.argv[1:3])
    limit_memory(memory)
    requests, responses = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)  # decoders print to standard error, not into the responses
    with contextlib.suppress(BrokenPipeError, EOFError):
        serve(requests, responses, most_pixels)


if __name__ == "__main__":
    main()
