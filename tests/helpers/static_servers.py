"""Web servers for tests: a folder as plain files, with byte ranges, as a bucket serves it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles


@contextmanager
def static_server(folder: Path, *, cors: bool = False) -> Iterator[str]:
    """The address of a web server for the files of a folder, without a slash at its end.

    With `cors`, pages of all other origins may read them by simple GET requests.
    """
    allowed = Middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["GET"])
    app = Starlette(
        routes=[Mount("/", StaticFiles(directory=folder, html=True))],
        middleware=[allowed] if cors else [],
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(60)
