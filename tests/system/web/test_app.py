"""Deletions, receipts and predictions over HTTP, as their callers see them."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from raymu.api import Run
from raymu.core.verdict import Verdict
from raymu.store.run import RunStore
from raymu.web.guards import Limits
from raymu.web.tokens import Role
from tests.support.examples import create_run, make_config, write_samples
from tests.system.web.conftest import Service, opened_service

OWNER, SAMPLE = "owner-3", 1007
HEADERS = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three runs: two hold the same samples and know their owners, the third knows no owners."""
    folder = tmp_path_factory.mktemp("service")
    write_samples(folder / "all.parquet", owners=8)
    write_samples(folder / "others.parquet", samples=90)
    for name in ("first", "second"):
        data = {"owner": "owner", "train": str(folder / "all.parquet")}
        create_run(make_config("", data=data, training={"epochs": 2}, partition={"slices": 2}), folder / name)
    create_run(make_config(folder / "others.parquet", training={"epochs": 3}), folder / "third")
    return folder


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    """A service of the three runs, which any caller may use."""
    with opened_service(folder, "first", "second", "third") as service:
        yield service


def owned(folder: Path) -> set[int]:
    rows = pq.read_table(folder / "all.parquet").to_pylist()
    return {row["id"] for row in rows if row["owner"] == OWNER}


def held(location: Path) -> set[int]:
    store = RunStore(str(location))
    tables = [lineage.table for lineage in store.current().lineages]
    return {sample_id for ref in tables for sample_id in store.samples.read_table(ref)["id"].to_pylist()}


def test_one_deletion_reaches_every_run_that_holds_the_subject(service: Service, folder: Path) -> None:
    answer = service.delete({"owner": OWNER, "strategy": "sisa"}, key="case 12")
    assert answer.status_code == 202
    outcomes = {outcome["run"]: outcome for outcome in answer.json()["runs"]}
    assert {name: outcome["status"] for name, outcome in outcomes.items()} == {
        "first": "accepted",
        "second": "accepted",
        "third": "refused",
    }
    assert answer.headers["location"] == outcomes["first"]["location"]
    again = service.delete({"owner": OWNER, "strategy": "sisa"}, key="case 12")
    assert (again.status_code, again.json()) == (202, answer.json())
    assert service.delete({"ids": [SAMPLE], "strategy": "sisa"}, key="case 12").status_code == 409
    without_key = service.delete({"owner": OWNER, "run": "first"})
    assert without_key.status_code == 200
    assert without_key.json()["runs"][0]["earlier_requests"] == [outcomes["first"]["request_id"]]
    for name in ("first", "second"):
        state = service.wait_for(outcomes[name]["request_id"], "settled")
        assert (state["run"], state["exactness"], state["has_receipt"]) == (name, "exact", True)
        assert not held(folder / name) & owned(folder)
        receipt = service.client.get(f"/v1/receipts/{outcomes[name]['request_id']}").json()
        assert receipt["samples"] == len(owned(folder))
        assert receipt["signature"]


def test_no_answer_comes_from_a_generation_that_was_revoked_from(service: Service) -> None:
    body = {"run": "third", "features": np.zeros((3, 6)).tolist()}
    before = service.client.post("/v1/predictions", json=body).json()
    assert (len(before["labels"]), np.allclose(np.sum(before["probabilities"], axis=1), 1)) == (3, True)
    accepted = service.delete({"ids": [SAMPLE], "run": "third", "strategy": "sisa"}).json()["runs"][0]
    after = service.client.post("/v1/predictions", json={**body, "labels_only": True}).json()
    assert after["probabilities"] is None
    assert (before["certain"], len(after["certain"])) == ([True] * 3, 3)
    state = service.wait_for(accepted["request_id"], "settled")
    last = service.client.post("/v1/predictions", json=body).json()
    assert before["generation"] < last["generation"]
    assert state["due_met"] is True


def test_a_service_of_labels_only_sends_probabilities_to_nobody(folder: Path) -> None:
    with opened_service(folder, "second", labels_only=True) as service:
        body = {"features": np.zeros((2, 6)).tolist(), "labels_only": False}
        answer = service.client.post("/v1/predictions", json=body).json()
    assert (answer["probabilities"], len(answer["labels"])) == (None, 2)


def test_rows_by_the_names_of_columns_are_predicted_as_arrays_are(service: Service) -> None:
    features = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32).tolist()
    arrays = service.client.post("/v1/predictions", json={"run": "second", "features": features}).json()
    rows = [{"features": row} for row in features]
    assert service.client.post("/v1/predictions", json={"run": "second", "rows": rows}).json() == arrays


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ({"ids": [5]}, 404, "unknown sample"),
        ({"ids": [5], "run": "nowhere"}, 404, "no run of this service has that name"),
        ({"ids": []}, 422, "ids"),
        ({}, 422, "give ids, or an owner"),
        ({"ids": [SAMPLE], "owner": OWNER}, 422, "give ids, or an owner"),
        ({"ids": [True]}, 422, "ids"),
        ({"ids": [SAMPLE], "due": "2027-01-01T00:00:00"}, 422, "no time zone"),
        ({"ids": [SAMPLE], "strategy": "forget"}, 422, "strategy"),
        ({"ids": [SAMPLE], "boundary": "often", "run": "first"}, 422, "boundary"),
        ({"ids": [SAMPLE], "sample": 3}, 422, "sample"),
        ({"ids": ["\ud800"]}, 422, "JSON"),
    ],
)
def test_what_cannot_be_deleted_is_refused_in_one_line(
    service: Service, folder: Path, body: dict[str, object], status: int, problem: str
) -> None:
    before = {name: held(folder / name) for name in ("first", "second", "third")}
    answer = service.client.post("/v1/requests", content=json.dumps(body), headers=HEADERS)
    assert (answer.status_code, problem in answer.json()["error"]) == (status, True), answer.text
    assert "\n" not in answer.json()["error"]
    assert {name: held(folder / name) for name in before} == before


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff\xfe", b'{"ids": ' + b"[" * 100_000, b"null"])
def test_what_is_no_body_is_refused(service: Service, body: bytes) -> None:
    answer = service.client.post("/v1/requests", content=body, headers=HEADERS)
    assert answer.status_code in (400, 422), answer.text
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        {"run": "third", "features": [[1, 2]]},
        {"run": "third", "features": [[1, 2], [3]]},
        {"run": "third", "features": ["a"]},
        {"run": "third", "rows": [{"features": "a"}]},
        {"run": "third", "rows": [{"other": 1}]},
        {"features": [[0] * 6]},
        {"run": "third"},
    ],
)
def test_samples_that_do_not_fit_are_refused(service: Service, body: dict[str, object]) -> None:
    answer = service.client.post("/v1/predictions", json=body)
    assert answer.status_code == 422, answer.text
    assert "\n" not in answer.json()["error"]


def test_health_metrics_and_status_say_how_the_runs_are(service: Service) -> None:
    assert service.client.get("/healthz").json() == {"status": "up"}
    until = time.monotonic() + 60
    while (ready := service.client.get("/readyz").json())["waiting"] and time.monotonic() < until:
        time.sleep(0.05)
    assert ready == {"status": "ready", "waiting": []}
    assert set(service.client.get("/v1/status").json()["runs"]) == {"first", "second", "third"}
    metrics = service.client.get("/metrics").text
    run_id = RunStore(str(service.folder / "third")).manifest.run_id
    assert f'raymu_info{{name="third",run="{run_id}"}} 1.0' in metrics
    assert service.client.get("/openapi.json").json()["paths"].keys() >= {"/v1/requests", "/v1/predictions"}
    assert service.client.get("/v1/requests/nothing").status_code == 404


def test_the_rules_of_the_service_name_what_it_exports(folder: Path) -> None:
    rules = (Path(__file__).parents[3] / "cluster" / "prometheus" / "raymu-serve-rules.yaml").read_text()
    named = set(re.findall(r"(?<![:\w])raymu_\w+", "\n".join(re.findall(r"expr:(.*(?:\n {10}.*)*)", rules))))
    with opened_service(folder, "third") as fresh:
        lines = fresh.client.get("/metrics").text.splitlines()
    exported = {re.split(r"[{ ]", line)[0] for line in lines if not line.startswith("#")}
    counted = {line.split()[2] for line in lines if line.startswith("# TYPE")}  # series of these come with their events
    assert len(named) > 10
    assert {name for name in named - exported if name.removesuffix("_bucket") not in counted} == set()
    assert any(re.match(r"raymu_repair_failures_total\{.*\} 0\.0", line) for line in lines)


@pytest.mark.usefixtures("service")
def test_the_runs_pass_a_verification_beside_the_service(folder: Path) -> None:
    for name in ("first", "third"):
        with Run(folder / name, trust=True) as run:
            assert run.verify().verdict is not Verdict.FAIL  # the open journal is inconclusive


def test_the_access_log_names_no_sample_and_no_owner(service: Service) -> None:
    service.client.get("/v1/requests/1007?owner=owner-3")
    service.client.get("/openapi.json")
    entries = [json.loads(line) for line in service.log.splitlines()]
    assert {"/openapi.json", "/v1/requests", "/v1/predictions", "/v1/requests/{request_id}"} <= {
        entry["route"] for entry in entries
    }
    assert OWNER not in service.log
    said = [{name: value for name, value in entry.items() if name not in ("at", "seconds")} for entry in entries]
    words = set(re.findall(r"\w+", json.dumps(said)))
    assert not words & {str(sample_id) for sample_id in owned(service.folder) | {SAMPLE}}
    assert "case 12" not in service.log


def test_each_role_may_do_its_own(folder: Path) -> None:
    with opened_service(folder, "third", has_tokens=True) as service:
        calls: dict[str, Callable[[dict[str, str]], Any]] = {
            "delete": lambda headers: service.delete({"ids": [5]}, **headers),
            "read": lambda headers: service.client.get("/v1/requests/none", headers=headers),
            "predict": lambda headers: service.client.post("/v1/predictions", json={}, headers=headers),
            "observe": lambda headers: service.client.get("/v1/status", headers=headers),
        }
        allowed = {
            Role.REQUESTER: {"delete", "read"},
            Role.PREDICTOR: {"predict"},
            Role.AUDITOR: {"read", "observe"},
            Role.OPERATOR: {"delete", "read", "predict", "observe"},
        }
        for role, rights in allowed.items():
            headers = service.as_caller(role)
            for name, call in calls.items():
                assert (call(headers).status_code != 403) is (name in rights), (role, name)
        for headers in ({}, {"Authorization": "Bearer raymu_no"}, {"Authorization": "Basic abc"}):
            assert {call(headers).status_code for call in calls.values()} == {401}
        service.tokens.revoke("the-auditor")
        auditor = {"Authorization": "Bearer raymu_gone"}
        assert service.client.get("/v1/status", headers=auditor).status_code == 401
        assert '"caller": "the-requester", "role": "requester"' in service.log


def test_callers_who_send_too_much_are_refused(folder: Path) -> None:
    with opened_service(folder, "third", limits=Limits(body_bytes=2_000, calls_per_s=3.0)) as service:
        assert service.delete({"ids": ["x" * 3_000]}).status_code == 413
        chunks = (b" " * 1_000 for _ in range(3))  # without a length
        token = {"Authorization": f"Bearer {service.tokens.create('sender', Role.REQUESTER)}"}
        assert service.client.post("/v1/requests", content=chunks, headers=HEADERS | token).status_code == 413
        answers = [service.client.get("/healthz") for _ in range(5)]
        assert 429 in {answer.status_code for answer in answers}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status_code == 429)
