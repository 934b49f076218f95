"""Two services of one run: each accepts requests, they work in turn, and one carries out what the other leaves."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

pytest.importorskip("fastapi")

from raymu.cli import run_command
from raymu.cli.group import cli
from raymu.web.tokens import Role, Tokens
from tests.support.serve_process import ServeProcess
from tests.support.trained_runs import RunTemplates
from tests.system.web.conftest import opened_service


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=[pytest.mark.servers, pytest.mark.nightly])])
def cluster(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "sqlite":
        return {}
    url = request.getfixturevalue("postgres").new_database()
    return {"cluster": {"fleet": "local", "journal": url.render_as_string(hide_password=False)}}


@pytest.fixture
def services(run_templates: RunTemplates, tmp_path: Path, cluster: dict[str, Any]) -> Iterator[list[ServeProcess]]:
    location = run_templates.copy(tmp_path / "letter", partition={"slices": 2}, **cluster).location
    Tokens(tmp_path / "tokens.json").create("first", Role.OPERATOR)
    with ServeProcess(tmp_path, runs=(location,)) as first, ServeProcess(tmp_path, runs=(location,)) as second:
        yield [first, second]


def wait_until_settled(service: ServeProcess, requests: set[str], token: str) -> None:
    until = time.monotonic() + 60
    for request in requests:
        while (state := service.call(f"/v1/requests/{request}", token=token).document)["stage"] != "settled":
            assert time.monotonic() < until, state
            time.sleep(0.2)


def test_calls_at_both_are_accepted_once_and_the_other_goes_on_after_a_kill(
    services: list[ServeProcess], tmp_path: Path
) -> None:
    location = tmp_path / "letter"
    *ids, last_id = (1007, 1014, 1021, 1028, 1035)
    token = services[0].token(Role.OPERATOR)

    def delete(at: int, sample: int) -> str:
        """Ask one of the services, and return the request's id."""
        body = {"ids": [sample], "strategy": "sisa"}
        answer = services[at].call("/v1/requests", body, token=token, Idempotency_Key=f"case-{sample}")
        assert answer.status == 202, answer.text
        return str(answer.document["runs"][0]["request_id"])

    calls = [(at, sample) for sample in ids for at in (0, 1)]
    with ThreadPoolExecutor(len(calls)) as pool:
        answers = dict(zip(calls, pool.map(lambda call: delete(*call), calls), strict=True))
    assert all(answers[0, sample] == answers[1, sample] for sample in ids)
    requests = set(answers.values())
    assert len(requests) == 4
    for service in services:
        wait_until_settled(service, requests, token)

    last = delete(0, last_id)
    services[0].process.send_signal(signal.SIGKILL)
    assert delete(1, last_id) == last
    wait_until_settled(services[1], {last}, token)
    assert services[1].call("/readyz").status == 200
    services[1].stop()
    result = CliRunner().invoke(cli, ["verify", str(location)])
    assert result.exit_code == 0, result.output


def test_only_one_of_them_sends_messages_from_a_state(run_templates: RunTemplates, tmp_path: Path) -> None:
    location = run_templates.copy(tmp_path / "letter", partition={"slices": 2}).location
    (tmp_path / "crm.secret").write_text("whsec_" + "A" * 44 + "\n")
    (tmp_path / "crm.secret").chmod(0o600)
    settings = {
        "webhooks": [
            {"name": "crm", "url": "http://127.0.0.1:9/", "secret_file": "crm.secret", "private_addresses": True}
        ]
    }
    (tmp_path / "protocols.yaml").write_text(yaml.safe_dump(settings))
    with opened_service(tmp_path, "letter", protocols=tmp_path / "protocols.yaml"):
        code, line = run_command(
            ["serve", str(location), "--port", "0", "--protocols", str(tmp_path / "protocols.yaml")]
        )
    assert code == 2
    assert "another service sends from it; give each a state of its own" in line
