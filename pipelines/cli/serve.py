"""`underpaint serve`: an archive as a page on this machine."""

from __future__ import annotations

import argparse
from contextlib import suppress

from underpaint.pipelines.cli import options
from underpaint.pipelines.cli.console import count

DEFAULT_PORT = 8017

LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")
"""Names under which a browser on this machine finds the page."""

EXAMPLES = """\
  underpaint serve archive
  underpaint serve gs://bucket/archive --port 9000
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command."""
    parser = subparsers.add_parser(
        "serve",
        parents=[options.archive()],
        help="show an archive as a page in the browser: grid, filters, one picture at any layer",
        description="Serve a page on this machine (127.0.0.1) that shows the pictures of an "
        "archive. Pictures appear from layer 1 and sharpen; only the columns and pages of what is "
        "on the screen are read. The page reads only; it loads nothing from other servers. Ctrl-C "
        "ends it.",
    )
    parser.add_argument(
        "--port",
        type=count,
        default=DEFAULT_PORT,
        metavar="N",
        help="port of the page; 0 takes any that is free (default: %(default)s)",
    )
    options.add_weights(parser)
    options.add_device(parser, "cpu")


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C; 0."""
    import socket

    from underpaint.codec.archive import Archive
    from underpaint.codec.codec import Codec
    from underpaint.codec.errors import UsageError
    from underpaint.codec.storage.extras import require_extras
    from underpaint.codec.weights.header import fetch_weights
    from underpaint.codec.weights.loading import matching
    from underpaint.pipelines.cli.console import plural

    require_extras("serve", "serve")
    if arguments.port > 65_535:
        raise UsageError(f"--port {arguments.port}: want 0 to 65535")
    import uvicorn

    from underpaint.pipelines.serve.app import application
    from underpaint.pipelines.serve.corpus import Corpus

    archive = Archive.open(arguments.archive)
    codec = Codec.load_for(archive.weights_id, arguments.weights, device=arguments.device)
    weights = fetch_weights(matching(arguments.weights, archive.weights_id))
    corpus = Corpus(archive, codec)
    corpus.preload()
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", arguments.port))
        listener.listen()  # so that the address answers from the moment that it is printed
    except OSError as error:
        raise UsageError(
            f"--port {arguments.port}: {error.strerror}; choose another, or 0 for any"
        ) from None
    port = listener.getsockname()[1]
    settings = uvicorn.Config(
        application(corpus, LOCAL_HOSTS, weights),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=600,
        timeout_keep_alive=15,
        h11_max_incomplete_event_size=32 << 10,
        timeout_graceful_shutdown=2,
    )
    print(
        f"{plural(len(archive), 'picture')} at http://127.0.0.1:{port}/  (Ctrl-C ends)", flush=True
    )
    with listener, suppress(KeyboardInterrupt):  # which uvicorn raises again when it has ended
        uvicorn.Server(settings).run(sockets=[listener])
    return 0
