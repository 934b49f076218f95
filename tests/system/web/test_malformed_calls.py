"""Calls that no careful client makes: made from the service's own OpenAPI document, and from bodies with changed bytes."""

import json
import random
from collections.abc import Iterator
from typing import Any, cast

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from raymu.api import Run
from tests.support.examples import create_run, make_config, write_samples
from tests.system.web.conftest import Service, opened_service

SAMPLES = 60
EVERY_ID = {1000 + 7 * number for number in range(SAMPLES)}
HEADERS = {"Content-Type": "application/json"}
BODIES: dict[str, list[dict[str, Any]]] = {
    "/v1/requests": [
        {"ids": [99, 100, "a"], "strategy": "sisa", "due": "2027-01-01T00:00:00Z", "ignore_unknown": False},
        {"owner": "somebody", "boundary": 0.5},
    ],
    "/v1/predictions": [
        {"features": [[0.5] * 6, [1e30] * 6], "labels_only": False},
        {"rows": [{"features": [0.25] * 6}]},
    ],
}
INSERTIONS = [b'"', b"{", b"]", b"\x00", b"\xff", b"9" * 400, b"1e999", b"null", b"-", b"\\ud800"]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("malformed")
    write_samples(folder / "all.parquet", samples=SAMPLES)
    create_run(make_config(folder / "all.parquet"), folder / "run")
    with opened_service(folder, "run") as opened:
        yield opened


@pytest.mark.parametrize("examples", [15, pytest.param(1000, marks=pytest.mark.nightly)])
def test_calls_made_from_the_openapi_document_are_answered_as_it_says(service: Service, examples: int) -> None:
    document = service.client.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
        for result in cast(Any, schema.get_all_operations()):
            operation: Any = result.ok()
            if mode is schemathesis.GenerationMode.NEGATIVE and not operation.body:
                continue

            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def call(case: Any) -> None:
                sent: Any = requests.Request(**case.as_transport_kwargs(base_url="http://testserver")).prepare()
                answer = service.client.request(
                    str(sent.method), str(sent.url), headers=dict(sent.headers), content=sent.body
                )
                declared = case.operation.definition.raw["responses"]
                assert str(answer.status_code) in {*declared, "405"}, (case.method, case.path, answer.text)
                if answer.status_code >= 400:
                    require_one_line(answer)

            call()
    with Run(service.folder / "run", trust=True) as run:
        assert not run.receipts()


@pytest.mark.parametrize("count", [150, pytest.param(50_000, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("path", BODIES)
def test_bodies_with_changed_bytes_do_nothing_that_they_do_not_say(service: Service, path: str, count: int) -> None:
    chance = random.Random(7)
    for _ in range(count):
        body = changed(json.dumps(chance.choice(BODIES[path])).encode(), chance)
        answer = service.client.post(path, content=body, headers=HEADERS)
        assert answer.status_code in (200, 202, 400, 404, 422), (body, answer.text)
        if answer.status_code == 202:
            assert set(json.loads(body)["ids"]) & EVERY_ID, body
        elif answer.status_code >= 400:
            require_one_line(answer)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/requests", {"ids": [99, 100, "a"], "ignore_unknown": False}, "2 unknown sample ids"),
        ("/v1/requests", {"ids": [99, "a"], "ignore_unknown": False}, "whose ids are integers"),
        ("/v1/predictions", {"features": [[1e40] * 6]}, "features"),
        ("/v1/predictions", {"features": [[10**400] * 6]}, ""),
    ],
)
def test_a_call_with_several_faults_or_numbers_out_of_range_is_the_callers_fault(
    service: Service, path: str, body: dict[str, Any], words: str
) -> None:
    answer = service.client.post(path, content=json.dumps(body), headers=HEADERS)
    assert answer.status_code == 422, answer.text
    assert words in answer.text
    require_one_line(answer)


def changed(body: bytes, chance: random.Random) -> bytes:
    """Delete, insert, double or replace a few bytes."""
    changed_body = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed_body))
        match chance.randrange(4):
            case 0:
                del changed_body[at : at + chance.randint(1, 5)]
            case 1:
                changed_body[at:at] = chance.choice(INSERTIONS)
            case 2:
                changed_body[at:at] = changed_body[: chance.randint(1, 30)]
            case _:
                changed_body[at] = chance.randrange(256)
        if not changed_body:
            return b""
    return bytes(changed_body)


def require_one_line(answer: Any) -> None:
    assert "\n" not in answer.json()["error"], answer.text
