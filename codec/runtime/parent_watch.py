"""Ends a worker when the process that started it ends."""

from __future__ import annotations

import os
import threading
import time

PERIOD_S = 0.5


def end_with_parent() -> None:
    """Watch the parent process in a thread; end this process as soon as the parent is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PERIOD_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
