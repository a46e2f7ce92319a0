"""Parts of the run on three hosts: the network that is cut, and the pools that take turns."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import grpc
import pytest
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc

INFRA = Path(__file__).parents[2] / "infra"

CONNECT = "import socket; socket.create_connection(('{}', {}), 5).close()"


@pytest.fixture
def three_hosts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(INFRA)
    return importlib.import_module("three_hosts")


@pytest.fixture
def cluster(three_hosts: ModuleType) -> Iterator:
    try:
        with three_hosts.Cluster() as cluster:
            yield cluster
        shutil.rmtree(cluster.logs)
    except three_hosts.Impossible as error:
        pytest.skip(f"no network namespaces here: {error}")
    assert not list(Path("/run/netns").glob(f"{cluster.prefix}*"))
    assert not list(Path("/etc/netns").glob(f"{cluster.prefix}*"))


@pytest.mark.slow
def test_hosts_reach_each_other_by_name_until_the_cable_is_cut(cluster) -> None:
    serve = "import http.server as h; h.HTTPServer(('', 8000), h.SimpleHTTPRequestHandler)"
    cluster.start("store", "-S", "-c", f"{serve}.serve_forever()")
    cluster.wait_for("store", 8000)
    to_store = ("-S", "-c", CONNECT.format("store", 8000))
    assert cluster.run("worker1", *to_store).returncode == 0
    cluster.cable("worker1", "down")
    assert cluster.run("worker1", *to_store).returncode != 0
    assert cluster.run("worker2", *to_store).returncode == 0
    cluster.cable("worker1", "up")
    assert cluster.run("worker1", *to_store).returncode == 0
    name = cluster.run("worker1", "-S", "-c", "import socket; print(socket.getfqdn())")
    assert name.stdout.strip() == "worker1"


def test_nothing_outside_is_within_reach(cluster) -> None:
    outside = cluster.run("head", "-S", "-c", CONNECT.format("192.0.2.1", 80))
    assert "Network is unreachable" in outside.stderr


class Pool(beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolServicer):
    """A worker pool that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def StartWorker(self, request, context):
        self.asked.append(("start", request.worker_id))
        return beam_fn_api_pb2.StartWorkerResponse()

    def StopWorker(self, request, context):
        self.asked.append(("stop", request.worker_id))
        return beam_fn_api_pb2.StopWorkerResponse()


def test_pools_behind_one_address_take_turns(three_hosts: ModuleType) -> None:
    pools, servers, ports = [Pool(), Pool()], [], []
    for pool in pools:
        server = grpc.server(ThreadPoolExecutor(2))
        beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(pool, server)
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        servers.append(server)
    front = grpc.server(ThreadPoolExecutor(2))
    three_hosts.add_pools(front, [f"127.0.0.1:{port}" for port in ports])
    port = front.add_insecure_port("127.0.0.1:0")
    for server in (*servers, front):
        server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = beam_fn_api_pb2_grpc.BeamFnExternalWorkerPoolStub(channel)
            for name in ("a", "b"):
                stub.StartWorker(beam_fn_api_pb2.StartWorkerRequest(worker_id=name))
            for name in ("a", "b"):
                stub.StopWorker(beam_fn_api_pb2.StopWorkerRequest(worker_id=name))
    finally:
        for server in (*servers, front):
            server.stop(None)
    assert pools[0].asked == [("start", "a"), ("stop", "a")]
    assert pools[1].asked == [("start", "b"), ("stop", "b")]
