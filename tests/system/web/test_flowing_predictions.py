"""A subject of three runs is deleted by one call, while predictions of all three are asked for without a pause."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.examples import create_run, make_config, write_samples
from tests.system.web.conftest import Service, opened_service

RUNS = ("first", "second", "third")


@dataclass
class Predictions:
    """The predictions of one run, asked for in a thread of its own."""

    service: Service
    run: str
    is_over: threading.Event
    answers: list[tuple[float, int, Any]] = field(default_factory=list)
    """When each call began, the status of its answer, and the probabilities."""

    def ask(self) -> tuple[float, int, Any]:
        began = time.perf_counter()
        body = {"run": self.run, "features": np.full((2, 6), 0.25).tolist()}
        answer = self.service.client.post("/v1/predictions", json=body)
        return began, answer.status_code, answer.json().get("probabilities")

    def flow(self) -> None:
        while not self.is_over.is_set():
            self.answers.append(self.ask())


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    table = tmp_path / "all.parquet"
    write_samples(table, samples=120)
    for number, name in enumerate(RUNS):
        create_run(make_config(table, training={"epochs": 2 + number}, partition={"slices": 2}), tmp_path / name)
    with opened_service(tmp_path, *RUNS) as opened:
        yield opened


@pytest.mark.parametrize("deletions", [2, pytest.param(40, marks=pytest.mark.nightly)])
def test_no_answer_comes_from_a_tainted_generation_after_the_acknowledgement(service: Service, deletions: int) -> None:
    is_over = threading.Event()
    flows = [Predictions(service, name, is_over) for name in RUNS]
    threads = [threading.Thread(target=flow.flow) for flow in flows]
    for thread in threads:
        thread.start()
    try:
        for number in range(deletions):
            tainted = {flow.run: flow.ask()[2] for flow in flows}
            asked_at = time.perf_counter()
            accepted = service.delete({"ids": [1000 + 7 * number], "strategy": "sisa"})
            acknowledged_at = time.perf_counter()
            outcomes = accepted.json()["runs"]
            assert [outcome["status"] for outcome in outcomes] == ["accepted"] * len(RUNS)
            for outcome in outcomes:
                service.wait_for(outcome["request_id"], "settled")
            for flow in flows:
                flow.answers.append(flow.ask())
                after = [answer for answer in flow.answers if answer[0] > acknowledged_at]
                assert {status for _, status, _ in after} <= {200, 503}
                assert after[-1][1] == 200
                assert tainted[flow.run] not in [probabilities for _, _, probabilities in after]
                before = [probabilities for began, _, probabilities in flow.answers if began < asked_at]
                assert tainted[flow.run] in before, "the same generation answers the same"
                flow.answers.clear()
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
