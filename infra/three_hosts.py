"""A cluster without a cloud: hosts as network namespaces of one Linux machine, one of them lost.

    sudo python infra/three_hosts.py            # about two minutes on two cores; cleans up

    store    10.77.0.2  Cloud Storage emulator: photos and archive, gs://corpus
    head     10.77.0.3  Beam's Python job service, `underpaint encode --runner PortableRunner`
    worker1  10.77.0.4  a Beam worker pool
    worker2  10.77.0.5  another; its cable is cut while it encodes

The hosts have host names, loopbacks and one network (a bridge in a fifth namespace); they share no
address with the machine and reach nothing outside. What is shown:

1. the job's units go to both workers; once a quarter is committed worker2 loses its network;
2. the job cannot finish (this job service does not give a lost worker's work to another, as
   Dataflow does); it is stopped after nothing was committed for a while;
3. the same command again, with worker1 alone, does what is missing;
4. worker2 gets its network back, and what it still had under way changes nothing;
5. the archive is compared with one from an undisturbed run: rows, layers, dead letters.

Exit status 0 where the archive is whole, 1 where it is not, 2 where namespaces cannot be made.
Needs root (or CAP_NET_ADMIN and CAP_SYS_ADMIN), `ip` and `unshare`.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent import futures
from pathlib import Path

from namespaces import HOSTS, STORE_PORT, Cluster, Impossible, address

JOB_PORT, POOL_PORT = 8099, 50000
BUCKET = "corpus"
PHOTOS, ARCHIVE, CALM = (f"gs://{BUCKET}/{name}" for name in ("photos", "archive", "calm"))
BROKEN = "zz-broken.jpg"
PATIENCE_S = 20.0
"""A job of which a worker is lost is stopped after so long without a commit."""


class Scene:
    """The story that the cluster plays."""

    def __init__(self, cluster: Cluster, photos: int) -> None:
        self.cluster, self.photos = cluster, photos
        self.begin = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line with the time since the begin."""
        print(f"{time.monotonic() - self.begin:6.1f} s  {text}", flush=True)

    def play(self) -> int:
        """All of it; the exit status."""
        cluster = self.cluster
        emulator = ("-m", "gcp_storage_emulator", "start", "--host=0.0.0.0", "--in-memory")
        bucket = f"--default-bucket={BUCKET}"
        cluster.start("store", *emulator, f"--port={STORE_PORT}", bucket)
        for worker in ("worker1", "worker2"):
            pool = "apache_beam.runners.worker.worker_pool_main"
            cluster.start(worker, "-m", pool, f"--service_port={POOL_PORT}")
        cluster.wait_for("store", STORE_PORT)
        self.must(cluster.run("head", __file__, "upload", str(self.photos)))
        for worker in ("worker1", "worker2"):
            cluster.wait_for(worker, POOL_PORT)
        hosts = ", ".join(f"{host} {address(host)}" for host in HOSTS)
        self.say(f"{hosts}: up; {self.photos} photos and a broken one on the store")
        service, job = self.submit("worker1", "worker2")
        wanted = self.units_wanted()
        self.wait_for_commits(job, wanted // 4)
        before, by = self.commits(), self.encoders()
        cluster.cable("worker2", "down")
        self.say(f"{before} of {wanted} units committed, encoding on {by}: worker2 is cut off")
        ended = self.wait_until_still(job)
        self.say(
            f"{self.commits()} units committed; the job has ended by itself with status {ended}"
            if ended is not None
            else f"{self.commits()} units committed, none for {PATIENCE_S:.0f} s: job stopped"
        )
        cluster.stop(job)
        cluster.stop(service)
        service, job = self.submit("worker1")
        status = job.wait(timeout=600)
        self.say(f"second run, on worker1 alone: exit status {status} (1: the broken photo)")
        first = self.compare()
        cluster.cable("worker2", "up")
        running = self.encoders() or "no host"
        self.say(f"worker2 has its network back (Beam workers still run on {running})")
        time.sleep(PATIENCE_S / 2)
        second = self.compare()
        cluster.stop(service)
        whole = status == 1 and not first and not second and before < wanted
        if whole:
            shutil.rmtree(cluster.logs, ignore_errors=True)
        print("the archive is whole" if whole else f"NOT whole; logs in {cluster.logs}")
        return int(not whole)

    def submit(self, *workers: str) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
        """Start a job service for these workers, and the job on it."""
        service = self.cluster.start("head", __file__, "jobs", self.cluster.logs, *workers)
        self.cluster.wait_for("head", JOB_PORT)
        options = (
            f"--runner=PortableRunner --job_endpoint=head:{JOB_PORT} --environment_type=EXTERNAL "
            f"--environment_config=head:{POOL_PORT} --unit-size=100k --verbose"
        ).split()
        command = (
            "-P",
            "-m",
            "underpaint",
            "encode",
            PHOTOS,
            "--output",
            ARCHIVE,
            *options,
        )
        return service, self.cluster.start("head", *command)

    def names(self, folder: str) -> list[str]:
        """Names of the objects in a folder of the bucket."""
        code = (
            "import json, urllib.request; print(*(i['name'] for i in json.load(urllib.request."
            f"urlopen('http://store:{STORE_PORT}/storage/v1/b/{BUCKET}/o?prefix={folder}/'))"
            ".get('items', [])))"
        )
        return self.cluster.run("head", "-S", "-c", code).stdout.split()

    def commits(self) -> int:
        """Units of the archive that are committed."""
        return len(self.names("archive/commits"))

    def encoders(self) -> str:
        """The hosts on which a Beam worker runs."""
        found = []
        for host in ("worker1", "worker2"):
            space = self.cluster.space(host)
            left = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True)
            lines = [Path("/proc", pid, "cmdline") for pid in left.stdout.split()]
            if any(b"SdkHarness" in line.read_bytes() for line in lines if line.exists()):
                found.append(host)
        return " and ".join(found)

    def units_wanted(self) -> int:
        """Units of the job, from its plan."""
        deadline = time.monotonic() + 120
        while True:
            shown = self.cluster.run("head", __file__, "units").stdout.strip()
            if shown and int(shown):
                return int(shown)
            if time.monotonic() > deadline:
                raise RuntimeError(f"the job has made no plan; logs in {self.cluster.logs}")
            time.sleep(0.5)

    def wait_for_commits(self, job: subprocess.Popen[bytes], count: int) -> None:
        """Wait until so many units are committed."""
        while self.commits() < count:
            if job.poll() is not None:
                raise RuntimeError(f"the job ended too early; logs in {self.cluster.logs}")
            time.sleep(0.1)

    def wait_until_still(self, job: subprocess.Popen[bytes]) -> int | None:
        """Wait until the job has ended (its status) or nothing was committed for a while (None)."""
        count, since = self.commits(), time.monotonic()
        while time.monotonic() - since < PATIENCE_S:
            status = job.poll()
            if status is not None:
                return status
            if self.commits() != count:
                count, since = self.commits(), time.monotonic()
            time.sleep(0.5)
        return None

    def compare(self) -> int:
        """Compare the archive with an undisturbed one, which is made at the first time."""
        done = self.cluster.run("head", __file__, "compare", str(self.photos))
        for line in done.stdout.splitlines():
            self.say(f"  {line}")
        if done.returncode:
            print(done.stderr, file=sys.stderr)
        return done.returncode

    def must(self, done: subprocess.CompletedProcess[str]) -> None:
        """RuntimeError where a step failed."""
        if done.returncode:
            raise RuntimeError(done.stderr)


def serve_jobs(folder: str, *workers: str) -> None:
    """On the head: Beam's job service, with one worker on each host, and the address they share.

    Beam's own has one worker a job, and an external environment has one address; behind this one
    the pools take turns.
    """
    import grpc
    from apache_beam.runners.portability import local_job_service
    from apache_beam.runners.portability.fn_api_runner import fn_runner

    class Runner(fn_runner.FnApiRunner):
        """A local runner with a worker a host."""

        def __init__(self, **more: object) -> None:
            super().__init__(**more)
            self._num_workers = len(workers)

    class Service(local_job_service.LocalJobServicer):
        """A job service that other hosts can reach."""

        def get_service_address(self) -> str:
            return "head"

    local_job_service.fn_runner.FnApiRunner = Runner
    pools = grpc.server(futures.ThreadPoolExecutor(4))
    add_pools(pools, [f"{worker}:{POOL_PORT}" for worker in workers])
    pools.add_insecure_port(f"[::]:{POOL_PORT}")
    pools.start()
    service = Service(tempfile.mkdtemp(dir=folder))
    service.start_grpc_server(JOB_PORT)
    signal.pause()


def add_pools(server: object, addresses: Sequence[str]) -> None:
    """Add a worker pool to a gRPC server that passes requests on to several ones in turn."""
    import grpc
    from apache_beam.portability.api import beam_fn_api_pb2_grpc as api

    stubs = [api.BeamFnExternalWorkerPoolStub(grpc.insecure_channel(each)) for each in addresses]
    workers: dict[str, object] = {}

    class Pools(api.BeamFnExternalWorkerPoolServicer):
        """The pools as one."""

        def StartWorker(self, request: object, context: object) -> object:
            stub = stubs[len(workers) % len(stubs)]
            workers[request.worker_id] = stub
            return stub.StartWorker(request)

        def StopWorker(self, request: object, context: object) -> object:
            return workers.pop(request.worker_id).StopWorker(request)

    api.add_BeamFnExternalWorkerPoolServicer_to_server(Pools(), server)


def upload(count: int) -> None:
    """On the head: put photos (crops of scikit-image's) and a broken one into the bucket."""
    import io

    import fsspec
    from PIL import Image
    from skimage import data

    sources = [data.astronaut(), data.chelsea(), data.coffee()]
    fs = fsspec.filesystem("gs")
    for number in range(count):
        source = sources[number % 3]
        top, left = 7 * number % 40, 11 * number % 90
        file = io.BytesIO()
        Image.fromarray(source[top : top + 256, left : left + 320]).save(file, "JPEG", quality=90)
        fs.pipe_file(f"{PHOTOS}/{number:04d}.jpg", file.getvalue())
    fs.pipe_file(f"{PHOTOS}/{BROKEN}", b"no picture")


def units() -> None:
    """On the head: print how many units the plan in the archive's folder has."""
    import fsspec

    fs = fsspec.filesystem("gs")
    names = [name for name in fs.find(f"{ARCHIVE}/plans") if name.endswith(".jsonl")]
    print(sum(len(fs.cat_file(name).splitlines()) for name in names))


def compare(count: int) -> int:
    """On the head: whether the archive holds what that of an undisturbed run does."""
    from underpaint.codec.archive import Archive
    from underpaint.codec.errors import NotAnArchive
    from underpaint.pipelines.jobs.encode import EncodeOptions, encode

    try:
        calm = Archive.open(CALM)
    except NotAnArchive:
        encode(EncodeOptions(inputs=(PHOTOS,), output=CALM, workers=1, unit_bytes=100_000))
        calm = Archive.open(CALM)
    archive = Archive.open(ARCHIVE)
    rows = [(row.key, row.layers) for row in archive.rows()]
    letters = [letter.key for letter in archive.dead_letters()]
    checks = {
        f"{len(rows)} rows, each photo once": len(dict(rows)) == len(rows) == count,
        f"{len(letters)} dead letter, the broken photo": letters == [BROKEN],
        "layers byte-equal to an undisturbed run": rows == [(r.key, r.layers) for r in calm.rows()],
        "the same files count": archive.manifest == calm.manifest,
    }
    for text, good in checks.items():
        print("ok " if good else "NOT", text)
    return int(not all(checks.values()))


def main() -> int:
    """The whole scene, or one of its parts on a host."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--photos", type=int, default=120, help="photos to encode (default 120)")
    given = parser.parse_args()
    if given.part == "jobs":
        serve_jobs(*given.arguments)
    elif given.part == "upload":
        upload(int(given.arguments[0]))
    elif given.part == "units":
        units()
    elif given.part == "compare":
        return compare(int(given.arguments[0]))
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and clean up
        try:
            with Cluster() as cluster:
                return Scene(cluster, given.photos).play()
        except Impossible as error:
            print(f"three_hosts: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
