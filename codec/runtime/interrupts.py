"""Ctrl-C: one press stops a command in order, and no process prints a traceback.

A terminal sends Ctrl-C to every process of a command. Here only the process that the user started
takes it: its children are started without hearing it (`child_process.deaf_children`), and it ends
them. So a child never ends in the middle of an answer that its parent would take for damage.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

HASTY_S = 2.0
"""Further presses within so many seconds after the first one are part of it."""

STATUS = 130
"""Exit status of a command that was stopped."""

_pressed: float | None = None
"""When Ctrl-C was pressed first, by the monotonic clock."""

_holds = 0
"""Contexts `held` that the main thread is in."""

_is_due = False
"""Whether Ctrl-C was pressed in one of them."""


def stop_once() -> None:
    """Let the first Ctrl-C raise KeyboardInterrupt, and none of those that follow within HASTY_S.

    A later one, while the command is still stopping, ends the process at once with `STATUS`.
    Threads that fail while it stops print nothing. Nothing changes outside the main thread, and
    where Ctrl-C is ignored, as in the background.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    signal.signal(signal.SIGINT, _press)
    sys.unraisablehook = _unraisable
    threading.excepthook = _thread_failed


@contextmanager
def held() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt after this context, if it is pressed within.

    For what must not be left half done, such as the start of a process; needs `stop_once`.
    """
    global _holds, _is_due
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _holds += 1
    try:
        yield
    finally:
        _holds -= 1
    if _is_due and not _holds:
        _is_due = False
        raise KeyboardInterrupt


def is_stopping() -> bool:
    """Return whether Ctrl-C was pressed in a process that has called `stop_once`."""
    return _pressed is not None


def ignore_more() -> None:
    """Ignore Ctrl-C from now on, if it was pressed: while the interpreter ends."""
    if is_stopping():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _press(number: int, frame: FrameType | None) -> None:
    global _pressed, _is_due
    if _pressed is None:
        _pressed = time.monotonic()
        if _holds:
            _is_due = True
            return
        raise KeyboardInterrupt
    if time.monotonic() - _pressed > HASTY_S:
        os._exit(STATUS)


def _unraisable(told: Any) -> None:
    global _pressed
    if isinstance(told.exc_value, KeyboardInterrupt):
        _pressed = None  # it came where nothing can be raised: the next press counts
    elif not is_stopping():
        sys.__unraisablehook__(told)


def _thread_failed(told: threading.ExceptHookArgs) -> None:
    if not is_stopping():
        threading.__excepthook__(told)
