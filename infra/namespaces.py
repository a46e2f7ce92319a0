"""Hosts as network namespaces of one Linux machine: laid out, cut off, and cleaned up.

They have host names, loopbacks and one network (a bridge in a namespace of its own); they share no
address with the machine and reach nothing outside. Needs root, `ip` and `unshare`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOSTS = ("store", "head", "worker1", "worker2")
SWITCH = "switch"
NETWORK = "10.77.0"
STORE_PORT = 9023


class Impossible(Exception):
    """Namespaces cannot be made here."""


def address(host: str) -> str:
    """IPv4 address of a host."""
    return f"{NETWORK}.{HOSTS.index(host) + 2}"


@dataclass
class Cluster:
    """Namespaces, processes in them, and their end. Use it in a `with` statement."""

    prefix: str = field(default_factory=lambda: f"underpaint-{os.getpid()}")
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    logs: str = field(default_factory=lambda: tempfile.mkdtemp(prefix="three-hosts-"))

    def __enter__(self) -> Cluster:
        missing = [tool for tool in ("ip", "unshare") if shutil.which(tool) is None]
        if missing:
            raise Impossible(f"no {' and no '.join(missing)} here: install iproute2 and util-linux")
        try:
            self._lay()
        except subprocess.CalledProcessError as error:
            self.close()
            raise Impossible(f"{' '.join(error.cmd)}: {error.stderr.strip()}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def space(self, host: str) -> str:
        """Name of the namespace of a host."""
        return f"{self.prefix}-{host}"

    def _lay(self) -> None:
        switch = self.space(SWITCH)
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", switch, "link", "set", "bridge", "up")
        names = "".join(f"{address(host)} {host}\n" for host in HOSTS)
        for host in HOSTS:
            space = self.space(host)
            ip("netns", "add", space)
            folder = Path("/etc/netns", space)  # `ip netns exec` mounts what lies here over /etc
            folder.mkdir(parents=True)
            (folder / "hosts").write_text(f"127.0.0.1 localhost\n{names}")
            ip("-n", switch, "link", "add", host, "type", "veth", "peer", "eth0", "netns", space)
            ip("-n", switch, "link", "set", host, "master", "bridge", "up")
            ip("-n", space, "address", "add", f"{address(host)}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")

    def cable(self, host: str, state: str) -> None:
        """Pull the cable of a host out of the switch ("down") or put it back ("up")."""
        ip("-n", self.space(SWITCH), "link", "set", host, state)

    def command(self, host: str, *arguments: str) -> list[str]:
        """A command line that runs on a host, under the host's name."""
        named = ["sh", "-c", 'hostname "$0" && exec "$@"', host, *arguments]
        return ["ip", "netns", "exec", self.space(host), "unshare", "--uts", *named]

    def start(self, host: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a Python module on a host; what it prints goes to a file."""
        log = Path(self.logs, f"{len(self.started):02d}-{host}.log")
        with open(log, "wb") as file:
            process = subprocess.Popen(
                self.command(host, sys.executable, *arguments),
                env=environment(),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def run(self, host: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python on a host to its end."""
        command = self.command(host, sys.executable, *arguments)
        return subprocess.run(command, env=environment(), capture_output=True, text=True)

    def wait_for(self, host: str, port: int, seconds: float = 60) -> None:
        """Wait until something listens on a host."""
        code = f"import socket; socket.create_connection(('{host}', {port}), 1).close()"
        deadline = time.monotonic() + seconds
        while self.run(host, "-S", "-c", code).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{host}:{port} does not answer; logs in {self.logs}")
            time.sleep(0.2)

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a process that `start` has started, with all of its session."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        """End all processes in the namespaces, then the namespaces."""
        for process in self.started:
            self.stop(process)
        for host in (*HOSTS, SWITCH):
            space = self.space(host)
            left = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True)
            for pid in left.stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)
            shutil.rmtree(Path("/etc/netns", space), ignore_errors=True)


def ip(*arguments: str) -> None:
    """Run `ip`; CalledProcessError where it fails."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def environment() -> dict[str, str]:
    """What processes on the hosts see: this Python first, the emulator instead of Google."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    return dict(
        os.environ,
        PATH=path,
        PYTHONPATH=str(ROOT),
        STORAGE_EMULATOR_HOST=f"http://store:{STORE_PORT}",
        GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT="false",
        OMP_NUM_THREADS="1",
        NUMBA_NUM_THREADS="1",
    )
