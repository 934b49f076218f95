"""Webhooks of a service: what a receiver is sent about a request, whatever happens to the service."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from raymu.api import Run
from raymu.store.run import RunStore
from tests.support.examples import create_run, make_config, write_samples
from tests.support.receiver import Delivery, Receiver, receiving
from tests.system.web.conftest import opened_service

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a run, and a secret."""
    write_samples(tmp_path / "all.parquet", samples=120, owners=8)
    config = make_config(
        tmp_path / "all.parquet", data={"owner": "owner"}, training={"epochs": 2}, partition={"slices": 2}
    )
    create_run(config, tmp_path / "run")
    (tmp_path / "secret").write_text(SECRET)
    return tmp_path


def write_settings(folder: Path, *receivers: Receiver, **settings: Any) -> Path:
    hooks = [
        {
            "name": f"hook-{number}",
            "url": receiver.url,
            "secret_file": "secret",
            "private_addresses": True,
            **settings,
        }
        for number, receiver in enumerate(receivers)
    ]
    path = folder / "protocols.yaml"
    path.write_text(json.dumps({"webhooks": hooks}))
    return path


def kinds(deliveries: list[Delivery]) -> list[str]:
    return [json.loads(delivery.body)["type"].removeprefix("request.") for delivery in deliveries]


def test_a_request_is_accepted_rewound_and_settled_for_its_receiver(folder: Path) -> None:
    with Run(folder / "run", trust=True) as run:
        run.revoke(owner="owner-1", strategy="sisa")  # before there is a webhook, so it is not sent
    with receiving() as first, receiving() as second:
        settings = write_settings(folder, first, second)
        with opened_service(folder, "run", protocols=settings) as service:
            answer = service.delete({"owner": "owner-3", "strategy": "sisa"}, key="case 12").json()["runs"][0]
            arrived = first.wait_for(lambda deliveries: "settled" in kinds(deliveries))
            second.wait_for(lambda deliveries: len(deliveries) == 3)
        assert sorted(kinds(arrived)) == ["accepted", "rewound", "settled"]
        assert len({delivery.headers["webhook-id"] for delivery in arrived}) == 3
        bodies = {json.loads(delivery.body)["type"]: json.loads(delivery.body)["data"] for delivery in arrived}
        assert {data["request_id"] for data in bodies.values()} == {answer["request_id"]}
        settled = bodies["request.settled"]
        with closing(RunStore(str(folder / "run")).journal(is_read_only=True)) as journal:
            [row] = journal.receipt_rows([answer["request_id"]])
        assert (settled["run"], settled["exactness"], settled["receipt_sha256"]) == ("run", "exact", row.sha256)
        text = b"".join(delivery.body for delivery in arrived).decode()
        assert "owner-3" not in text
        assert "case 12" not in text


def test_a_missed_deadline_is_said_once(folder: Path) -> None:
    with receiving() as receiver:
        settings = write_settings(folder, receiver, events=["overdue"])
        past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        with opened_service(folder, "run", protocols=settings) as service:
            body = {"owner": "owner-3", "strategy": "dpus", "due": past}
            accepted = service.delete(body).json()["runs"][0]
            deliveries = receiver.wait_for(lambda deliveries: len(deliveries) == 1)
            time.sleep(1.5)
        assert kinds(deliveries) == kinds(receiver.deliveries) == ["overdue"]
        assert json.loads(deliveries[0].body)["data"]["request_id"] == accepted["request_id"]


@contextmanager
def served(folder: Path, settings: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Serve the run in a process of its own."""
    command = [
        *(sys.executable, "-m", "raymu.cli", "serve", str(folder / "run"), "--port", "0", "--trust"),
        *("--protocols", str(settings), "--tokens", str(folder / "tokens.json")),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().decode().split()[2]  # serving on URL
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def test_a_killed_service_says_after_its_next_start_what_it_owed(folder: Path) -> None:
    with receiving() as receiver:
        receiver.statuses = [500]
        settings = write_settings(folder, receiver)
        with served(folder, settings) as (process, url):
            body = json.dumps({"owner": "owner-3", "strategy": "sisa"}).encode()
            call = urllib.request.Request(f"{url}/v1/requests", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(call) as answer:
                request_id = json.load(answer)["runs"][0]["request_id"]
            process.send_signal(signal.SIGKILL)
        with served(folder, settings):
            receiver.wait_for(lambda deliveries: {"accepted", "settled"} <= set(kinds(deliveries[1:])))
        by_kind: dict[str, set[str]] = {}
        for delivery in receiver.deliveries:
            data = json.loads(delivery.body)
            assert data["data"]["request_id"] == request_id
            by_kind.setdefault(data["type"], set()).add(delivery.headers["webhook-id"])
        assert all(len(ids) == 1 for ids in by_kind.values())
