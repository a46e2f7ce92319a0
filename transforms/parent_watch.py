"""Workers end with the process that started them, however it ends."""

from __future__ import annotations

import os
import threading
import time

PERIOD_S = 0.5


def end_with_parent() -> None:
    """Watch, in a thread, whether the parent is still there; end this process once it is not."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PERIOD_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
