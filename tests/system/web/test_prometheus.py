"""A real Prometheus reads a real service with the files of `cluster/prometheus`, whose alerts are provoked."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

pytest.importorskip("fastapi")

from raymu.cli.group import cli
from raymu.web.tokens import Role, Tokens
from tests.support.certificates import write_certificate
from tests.support.serve_process import ROOT, ServeProcess
from tests.support.trained_runs import RunTemplates

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed"),
]
FOLDER = ROOT / "cluster" / "prometheus"
RECORDS = [
    rule["record"]
    for group in yaml.safe_load((FOLDER / "raymu-serve-rules.yaml").read_text())["groups"]
    for rule in group["rules"]
    if "record" in rule
]


class Prometheus:
    """A Prometheus that looks every second, with rules that wait for nothing."""

    def __init__(self, folder: Path, *, target: str, token: str, authority: Path) -> None:
        settings = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
        settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        [job] = settings["scrape_configs"]
        job["static_configs"] = [{"targets": [target]}]
        job["authorization"]["credentials_file"] = "raymu.token"
        job["tls_config"]["ca_file"] = str(authority)
        del settings["alerting"]
        (folder / "raymu.token").write_text(token + "\n")
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
        rules = (FOLDER / "raymu-serve-rules.yaml").read_text()
        (folder / "raymu-serve-rules.yaml").write_text(re.sub(r"(?m)^( +for:).*$", r"\1 0s", rules))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._url = f"http://{address}/api/v1/"
        self._log = (folder / "prometheus.log").open("w")
        self.process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address={address}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self._url}{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def values(self, query: str) -> list[float]:
        """Return what a query has as its value now, for each series."""
        return [float(series["value"][1]) for series in self.get("query", query=query)["result"]]

    def wait_for(self, query: str) -> None:
        """Wait until a query has a result."""
        until = time.monotonic() + 60
        while True:
            try:
                if self.values(query):
                    return
            except OSError:  # it is starting
                assert self.process.poll() is None
            assert time.monotonic() < until, f"{query}: never"
            time.sleep(0.2)

    @property
    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    @property
    def firing(self) -> dict[str, str]:
        """Name -> summary of the alerts that fire."""
        alerts = self.get("alerts")["alerts"]
        return {
            each["labels"]["alertname"]: each["annotations"]["summary"] for each in alerts if each["state"] == "firing"
        }

    def wait_for_alerts(self, *names: str) -> None:
        """Wait until these alerts fire, and no others."""
        until = time.monotonic() + 60
        while (firing := self.firing).keys() != set(names):
            assert time.monotonic() < until, f"{names} should fire, and {firing} do"
            time.sleep(0.2)

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        finally:
            self.process.kill()
            self._log.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return write_certificate(tmp_path, "localhost", "127.0.0.1")


@pytest.fixture
def service(run_templates: RunTemplates, tmp_path: Path, certificate: tuple[Path, Path]) -> Iterator[ServeProcess]:
    location = run_templates.copy(tmp_path / "letter", partition={"slices": 2}).location
    Tokens(tmp_path / "tokens.json").create("first", Role.OPERATOR)
    options = ("--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1]))
    with ServeProcess(tmp_path, *options, runs=(location,), certificate=certificate[0]) as service:
        yield service


@pytest.fixture
def prometheus(service: ServeProcess, tmp_path: Path, certificate: tuple[Path, Path]) -> Iterator[Prometheus]:
    target, token = service.url.removeprefix("https://"), service.token(Role.AUDITOR)
    prometheus = Prometheus(tmp_path, target=target, token=token, authority=certificate[0])
    yield prometheus
    prometheus.close()


def test_what_goes_wrong_at_a_service_alerts(service: ServeProcess, prometheus: Prometheus, tmp_path: Path) -> None:
    location = tmp_path / "letter"

    # From the first look on there are all series, and nothing alerts except that nobody has ever verified the run.
    prometheus.wait_for("raymu_ready == 1")
    prometheus.wait_for_alerts("RaymuVerificationOld")
    assert prometheus.values('up{job="raymu"}') == [1.0]
    assert prometheus.values('raymu_info{name="letter"}') == [1.0]
    assert prometheus.values('sum(raymu_verdicts_total{check="verify"})') == [0.0]
    assert prometheus.values('raymu_request_seconds_count{state="settled"}') == [0.0]
    assert {rule["health"] for rule in prometheus.rules} == {"ok"}

    # A verification that passes ends that. One that fails, since a file is gone, alerts, until it passes again.
    assert CliRunner().invoke(cli, ["verify", str(location)]).exit_code == 0
    prometheus.wait_for_alerts()
    moved = next((location / "samples").glob("0000-pyarrow*"))
    moved.rename(tmp_path / "moved")
    assert CliRunner().invoke(cli, ["verify", str(location)]).exit_code == 1
    prometheus.wait_for_alerts("RaymuVerdictFails")
    assert prometheus.firing["RaymuVerdictFails"] == "The last raymu verify of run letter fails"
    (tmp_path / "moved").rename(moved)
    assert CliRunner().invoke(cli, ["verify", str(location)]).exit_code == 0
    prometheus.wait_for_alerts()

    # No repair takes less than a millisecond.
    due = datetime.now(UTC) + timedelta(milliseconds=1)
    body = {"ids": [1007], "due": due.isoformat(), "strategy": "sisa"}
    assert service.call("/v1/requests", body, token=service.token(Role.REQUESTER)).status == 202
    prometheus.wait_for('raymu_requests{state="settled"} == 1')
    prometheus.wait_for_alerts("RaymuDeadlineMissed")
    missed = "Requests to run letter were not exact when they were due"
    assert prometheus.firing["RaymuDeadlineMissed"] == missed
    for record in RECORDS:
        prometheus.wait_for(f"{record} >= 0")  # and not NaN
    [latency_s] = prometheus.values("run:raymu_requests_settled_s:p95_1d")
    assert 0.0 < latency_s < 100.0

    # A run that cannot be read. Its other series have ended.
    (location / "journal.sqlite").rename(tmp_path / "away")
    prometheus.wait_for_alerts("RaymuRunNotReady", "RaymuDeadlineMissed")
    assert prometheus.firing["RaymuRunNotReady"] == "Run letter cannot be read, or its due work fails"

    # A service that has ended.
    service.stop()
    prometheus.wait_for_alerts("RaymuServiceGone")
    assert prometheus.firing["RaymuServiceGone"] == "raymu serve does not answer"
