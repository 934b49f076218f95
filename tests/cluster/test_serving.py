"""The service on Ray Serve: replicas predict, one ingress takes deletions, and nothing is left when its process ends."""

import asyncio
import json
import shutil
import signal
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pytest

from raymu.api import Run
from raymu.core.verdict import Verdict
from raymu.web.arrow_stream import MEDIA_TYPE
from raymu.web.tokens import Role, Tokens
from tests.support.certificates import write_certificate
from tests.support.cluster_process import StartedCluster, end, wait_until
from tests.support.examples import make_config, train_run, write_samples

ROWS = np.full((2, 6), 0.25, dtype=np.float32)
DELETED = "sample-117"
OTHER = """
from ray import serve

@serve.deployment(ray_actor_options={"num_cpus": 0})
class Other:
    def __call__(self, request):
        return "other"

serve.run(Other.bind(), name="other", route_prefix="/other")
"""
"""Deploys another application of Ray Serve on the cluster."""


class Service:
    """`raymu serve`, in a process that joined a cluster."""

    def __init__(self, cluster: StartedCluster, folder: Path, *options: str, certificate: Path | None = None) -> None:
        self._tls = None if certificate is None else ssl.create_default_context(cafile=certificate)
        tokens = Tokens(folder / "tokens.json")
        names = {role: f"{role}-{len(tokens.all())}" for role in (Role.REQUESTER, Role.PREDICTOR)}
        self.tokens = {role: tokens.create(name, role) for role, name in names.items()}
        self.process = begin(cluster, folder, *options)
        assert self.process.stdout is not None
        try:
            text = ""
            while not text.endswith("}\n"):
                line = self.process.stdout.readline()
                assert line, self.process.communicate()
                text += line
            self.document = json.loads(text)
            assert "url" in self.document, text
        except BaseException:
            self.close()
            raise
        self.url = self.document["url"]

    def call(
        self,
        path: str,
        body: bytes | None = None,
        *,
        role: Role | None = None,
        kind: str = "application/json",
        key: str = "",
    ) -> tuple[int, bytes]:
        headers = {"Content-Type": kind, "Accept": kind, **({"Idempotency-Key": key} if key else {})}
        if role is not None:
            headers["Authorization"] = f"Bearer {self.tokens[role]}"
        request = urllib.request.Request(self.url + path, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=60, context=self._tls) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def predict(self) -> tuple[int, Any]:
        body = json.dumps({"features": ROWS.tolist()}).encode()
        status, answer = self.call("/v1/predictions", body, role=Role.PREDICTOR)
        return status, json.loads(answer)

    def delete(self, key: str) -> tuple[int, Any]:
        body = json.dumps({"ids": [DELETED], "strategy": "sisa"}).encode()
        status, answer = self.call("/v1/requests", body, role=Role.REQUESTER, key=key)
        return status, json.loads(answer)

    def stage(self, request_id: str) -> str:
        status, answer = self.call(f"/v1/requests/{request_id}", role=Role.REQUESTER)
        return str(json.loads(answer)["stage"]) if status == 200 else ""

    def close(self) -> None:
        """Kill the process, and wait for its end."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def begin(cluster: StartedCluster, folder: Path, *options: str) -> subprocess.Popen[str]:
    words = ["serve", str(folder / "run"), "--port", "0", "--json", *options]
    words += ["--tokens", str(folder / "tokens.json"), "--access-log", str(folder / "access.log")]
    return cluster.begin(*words, cwd=folder, RAY_ADDRESS=cluster.address)


def replicas(cluster: StartedCluster) -> list[psutil.Process]:
    """Return the processes that predict."""
    return cluster.processes("ray::ServeReplica:raymu:predictions")


def stream(rows: np.ndarray[Any, Any]) -> bytes:
    table = pa.table({"features": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run before a cluster is up, which would be used for it."""
    folder = tmp_path_factory.mktemp("trained")
    write_samples(folder / "all.parquet", samples=120, text_ids=True)
    config = make_config(folder / "all.parquet", partition={"slices": 2}, cluster={"fleet": "auto"})
    asyncio.run(train_run(config, folder / "run").close())
    return folder / "run"


@pytest.fixture(scope="module")
def cluster(trained: Path) -> Iterator[StartedCluster]:
    assert trained.exists()
    cluster = StartedCluster(nodes=1)
    yield cluster
    cluster.close()


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """Return a folder with a run in it."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path


def test_replicas_predict_and_never_from_what_was_revoked(cluster: StartedCluster, folder: Path) -> None:
    service = Service(cluster, folder, "--replicas", "2")
    try:
        assert service.document["on"] == "ray", "a cluster is joined"
        assert service.call("/healthz")[0] == 200
        assert service.call("/v1/predictions", b"{}")[0] == 401
        assert len(replicas(cluster)) == 2

        status, tainted = service.predict()
        assert status == 200
        status, payload = service.call("/v1/predictions", stream(ROWS), role=Role.PREDICTOR, kind=MEDIA_TYPE)
        in_arrow = pa.ipc.open_stream(payload).read_all()
        assert (status, in_arrow["probabilities"].to_pylist()) == (200, tainted["probabilities"])
        assert service.call("/v1/predictions", b"no stream", role=Role.PREDICTOR, kind=MEDIA_TYPE)[0] == 400
        assert service.call("/v1/predictions", b"{}", role=Role.PREDICTOR)[0] == 422
        with Run(folder / "run", trust=True) as run:
            assert run.predict(ROWS).tolist() == tainted["probabilities"]

        is_over, answers = threading.Event(), list[tuple[float, int, Any]]()

        def flow() -> None:
            while not is_over.wait(0.02):  # a flood would take the cores that the replicas start with
                began = time.perf_counter()
                answers.append((began, *service.predict()))

        before = [(process.pid, process.create_time()) for process in replicas(cluster)]
        threads = [threading.Thread(target=flow) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: len(answers) > 20, "predictions flow")
            status, accepted = service.delete("case 1")
            acknowledged = time.perf_counter()
            assert status == 202
            assert service.delete("case 1") == (status, accepted), "whoever repeats a key gets the same request"
            request_id = accepted["runs"][0]["request_id"]
            wait_until(lambda: service.stage(request_id) == "settled", "it is carried out")
            assert [(process.pid, process.create_time()) for process in replicas(cluster)] == before
            settled = service.predict()[1]["generation"]
            followed = len(answers)
            wait_until(lambda: len(answers) > followed + 20, "both replicas have answered since")
            replicas(cluster)[0].kill()
            wait_until(lambda: len(replicas(cluster)) == 2, "the lost replica is replaced")
            replaced = len(answers)
            wait_until(lambda: len(answers) > replaced + 20, "predictions flow again")
        finally:
            is_over.set()
            for thread in threads:
                thread.join()

        assert {status for _, status, _ in answers} <= {200, 503}
        after = [(status, answer) for began, status, answer in answers if began > acknowledged]
        assert after
        assert tainted["probabilities"] not in [answer.get("probabilities") for _, answer in after]
        assert {answer["generation"] for _, status, answer in answers[followed + 4 :] if status == 200} == {settled}
        with Run(folder / "run", trust=True) as run:
            current = run.predict(ROWS).tolist()
            assert all(answer["probabilities"] == current for _, status, answer in answers[replaced:] if status == 200)

        log = (folder / "access.log").read_text()
        assert '"/v1/predictions"' in log
        assert DELETED not in log
    finally:
        service.close()  # nothing can do anything for it
    wait_until(lambda: not cluster.processes("ray::Serve"), "neither the service nor Ray Serve is left")
    assert cluster.files_with(DELETED, *service.tokens.values()) == []
    with Run(folder / "run", trust=True) as run:
        assert len(run.receipts()) == 1
        assert run.verify().verdict is Verdict.PASS


@pytest.mark.nightly
def test_others_on_ray_serve_are_left_alone(cluster: StartedCluster, folder: Path) -> None:
    certificate, key = write_certificate(folder, "localhost")
    tls = ("--host", "localhost", "--tls-cert", str(certificate), "--tls-key", str(key))
    service = Service(cluster, folder, "--on", "ray", "--replicas", "1", *tls, certificate=certificate)
    try:
        assert service.url.startswith("https://localhost:")
        other = end(cluster.begin_python("-c", OTHER, cwd=folder, RAY_ADDRESS=cluster.address))
        assert other.code == 0, other.err
        assert service.call("/other") == (200, b"other")
        second = end(begin(cluster, folder, "--on", "ray"))
        assert second.code == 2
        assert "Ray Serve is up on this cluster, for" in json.loads(second.out)["error"]
        assert len(second.err.splitlines()) == 1

        status, accepted = service.delete("case 2")
        assert status == 202
        for ingress in cluster.processes("ray::ServeReplica:raymu:ingress"):
            ingress.kill()
        request_id = accepted["runs"][0]["request_id"]
        wait_until(lambda: service.stage(request_id) == "settled", "the next ingress carries it out")
        assert service.delete("case 2") == (status, accepted)
        assert service.predict()[0] == 200

        service.process.send_signal(signal.SIGTERM)
        assert service.process.communicate(timeout=90) == ("", "")
        assert service.process.returncode == 0
    finally:
        service.close()
    assert not cluster.processes("ray::ServeReplica:raymu")
    assert service.call("/healthz")[0] == 404
    assert service.call("/other") == (200, b"other")

    service = Service(cluster, folder)
    try:
        assert service.document["on"] == "local", "where Ray Serve is taken, the process serves"
        assert service.predict()[0] == 200
        service.process.send_signal(signal.SIGTERM)
        _, line = service.process.communicate(timeout=90)
        assert line.startswith("raymu: serving in this process: Ray Serve is up on this cluster, for other")
    finally:
        service.close()
