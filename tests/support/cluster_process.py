"""A cluster as a user starts it: with `ray start`, a token, and the dashboard on 127.0.0.1."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_UP_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """What a command of raymu returned."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        assert self.code in (0, 1, 3), self.err
        return json.loads(self.out)


class StartedCluster:
    """A head, and a worker node beside it, in processes of their own."""

    def __init__(self, *, nodes: int) -> None:
        """Start a cluster with two CPUs on one node, or on each of two nodes one."""
        # A shell's background processes ignore interruptions, and the commands started here would inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Not in pytest's folder: the paths of Ray's sockets must be short.
        self._folder = tempfile.mkdtemp(prefix="raymu-")
        gcs, dashboard = free_port(), free_port()
        self.address, self.dashboard = f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}"
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self._nodes: list[psutil.Popen] = []
        self._start(
            "--head",
            f"--num-cpus={2 // nodes}",
            f"--port={gcs}",
            f"--ray-client-server-port={free_port()}",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}",
        )
        wait_until(self._answers, "the dashboard answers")
        if nodes == 2:
            self._start(f"--address={self.address}", "--num-cpus=1")
            wait_until(lambda: len(self.node_ids()) == 2, "there are two nodes")

    def begin(self, *words: str, cwd: Path, **variables: str) -> subprocess.Popen[str]:
        """Start a command of raymu outside the cluster, with additional environment variables."""
        return self.begin_python("-m", "raymu.cli", *words, cwd=cwd, **variables)

    def begin_python(self, *words: str, cwd: Path, **variables: str) -> subprocess.Popen[str]:
        """Start any Python program in the same way."""
        environment = {**self._environment, **variables}
        program = [sys.executable, *words]
        return subprocess.Popen(
            program, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def raymu(self, *words: str, cwd: Path, **variables: str) -> Ended:
        return end(self.begin(*words, cwd=cwd, **variables))

    def get(self, path: str) -> Any:
        """Return the JSON that the dashboard serves at a path."""
        token = self._environment["RAY_AUTH_TOKEN"]
        request = urllib.request.Request(self.dashboard + path, headers={"authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def processes(self, name: str) -> list[psutil.Process]:
        """Return the cluster's processes whose title contains a name."""
        return [process for family in self.processes_by_node(name) for process in family]

    def processes_by_node(self, name: str) -> list[list[psutil.Process]]:
        """Return the same for each node, the head first."""
        families = [node.children(recursive=True) for node in self._nodes]
        return [[process for process in family if name in _title(process)] for family in families]

    def files_with(self, *words: str) -> list[Path]:
        """Return the files on the nodes' disks that contain one of some words as plain text, except tables of samples."""
        files = [path for path in Path(self._folder).rglob("*") if path.is_file() and path.suffix != ".parquet"]
        return [path for path in files if any(word.encode() in path.read_bytes() for word in words)]

    def file_names(self) -> set[str]:
        """The names of all files that the nodes keep on their disks."""
        return {path.name for path in Path(self._folder).rglob("*") if path.is_file()}

    def node_ids(self) -> set[str]:
        """Return Ray's ids of the living nodes."""
        nodes = [node["raylet"] for node in self.get("/nodes?view=summary")["data"]["summary"]]
        return {node["nodeId"] for node in nodes if node.get("state") == "ALIVE"}

    def close(self) -> None:
        """Kill all processes. `ray stop` would take a quarter of a minute."""
        for process in [process for node in self._nodes for process in (node, *node.children(recursive=True))]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        for node in self._nodes:
            node.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, *options: str) -> None:
        """Start a node, with a folder of its own in place of a disk."""
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
            *("--object-store-memory=100000000", f"--dashboard-agent-listen-port={free_port()}"),
            *(f"--temp-dir={self._folder}/{len(self._nodes)}", *options),
        ]
        self._nodes.append(
            psutil.Popen(command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )

    def _answers(self) -> bool:
        try:
            return bool(self.get("/api/version"))
        except OSError:
            return False


def end(command: subprocess.Popen[str]) -> Ended:
    out, err = command.communicate(timeout=120)
    return Ended(code=command.returncode, out=out, err=err)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _UP_S
    while not is_so():
        assert time.monotonic() < deadline, f"not in {_UP_S:.0f} s: {what}"
        time.sleep(0.2)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
