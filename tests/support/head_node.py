"""A cluster whose head a test starts like a user, and kills."""

import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

_UP_S = 60.0


class Head:
    """`ray start --head` in its own folder and on its own ports, apart from other clusters of this machine."""

    def __init__(self, folder: Path, *, ports: Sequence[int], words: Sequence[str]) -> None:
        """Start nothing yet.

        Args:
            folder: For Ray's files. Its path has to be short, since sockets are in it.
            ports: Three free ports.
            words: More options of `ray start`.
        """
        port, agent, client = ports
        self.address = f"127.0.0.1:{port}"
        self.environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        """The environment of a process that may join."""
        self._log = folder / "head.log"
        self._command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
            *(f"--port={port}", f"--temp-dir={folder}", "--min-worker-port=0", "--max-worker-port=0"),
            *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
            "--include-dashboard=false",
            *words,
        ]

    def start(self) -> None:
        """Start the head, and wait until it runs. It knows nothing of an earlier one at the same address."""
        environment = {**self.environment, "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        with self._log.open("wb") as log:
            self._process = psutil.Popen(self._command, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + _UP_S
        while "Ray runtime started" not in self._log.read_text():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise TimeoutError(self._log.read_text())
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill the head and all its processes."""
        if not self._process.is_running():
            return
        processes = [*self._process.children(recursive=True), self._process]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=10)


@contextmanager
def started_head(*words: str, grows_by: Mapping[str, int] | None = None) -> Iterator[Head]:
    """Start a head for the length of a context.

    Args:
        words: More options of `ray start`.
        grows_by: Resources of each node that the autoscaler may start on this machine. Without it, none is started.
    """
    folder = Path(tempfile.mkdtemp(prefix="head-"))  # a short name, since sockets lie in it
    ports = _free_ports(3)
    if grows_by:
        (folder / "growing.json").write_text(json.dumps(_growing(f"127.0.0.1:{ports[0]}", grows_by)))
        words = (*words, f"--autoscaling-config={folder / 'growing.json'}")
    head = Head(folder, ports=ports, words=words)
    try:
        head.start()
        yield head
    finally:
        head.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def _growing(address: str, resources: Mapping[str, int]) -> dict[str, Any]:
    """Return a configuration of Ray's autoscaler."""
    head: dict[str, Any] = {"resources": {}, "node_config": {}, "max_workers": 0}
    worker = {"resources": dict(resources), "node_config": {}, "min_workers": 0, "max_workers": 4}
    commands = ("setup_commands", "head_setup_commands", "worker_setup_commands", "initialization_commands")
    starts = ("head_start_ray_commands", "worker_start_ray_commands")
    return {
        "cluster_name": "growing",
        "max_workers": 4,
        "idle_timeout_minutes": 0.05,
        "upscaling_speed": 10,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "launch_multiple": True,
            "use_node_id_as_ip": True,  # the nodes share an address
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": {"ray.head.default": head, "worker": worker},
        "head_node_type": "ray.head.default",
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{name: [] for name in (*commands, *starts, "cluster_synced_files")},
    }
