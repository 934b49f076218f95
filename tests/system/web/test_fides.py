"""The connector for Fides: what it would send is sent to a real service.

Where FIDES_PYTHON names a Python that has Fides, and Redis is installed, Fides' own code reads the connector and sends it.
Its web server, its database and its workers do not run.
"""

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml

from raymu.api import Run
from raymu.web.tokens import Role, Tokens
from tests.support.certificates import write_certificate
from tests.support.examples import create_run, make_config, write_samples
from tests.support.serve_process import ROOT, ServeProcess
from tests.system.web.conftest import Service, opened_service

FOLDER = Path(__file__).parents[3] / "examples" / "fides"
CONFIG: dict[str, Any] = yaml.safe_load((FOLDER / "raymu_config.yml").read_text())["saas_config"]
[DATASET] = yaml.safe_load((FOLDER / "raymu_dataset.yml").read_text())["dataset"]
ENDPOINTS = CONFIG["endpoints"]

# The fields of Fides' SaaSConfig, Endpoint and SaaSRequest that a connector may have.
CONFIG_FIELDS = {
    "fides_key",
    "name",
    "type",
    "description",
    "version",
    "connector_params",
    "client_config",
    "endpoints",
}
REQUEST_FIELDS = {"method", "path", "headers", "body", "param_values", "ignore_errors", "skip_missing_param_values"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of two runs, of which each caller needs a token. It holds samples of owner-3."""
    folder = tmp_path_factory.mktemp("fides")
    write_samples(folder / "all.parquet", samples=120, owners=8)
    data = {"owner": "owner", "train": str(folder / "all.parquet")}
    config = make_config("", data=data, training={"epochs": 2}, partition={"shards": 2, "slices": 2})
    for name in ("first", "second"):
        create_run(config, folder / name)
    with opened_service(folder, "first", "second", has_tokens=True) as service:
        yield service


def filled(text: str, values: Mapping[str, str]) -> str | None:
    """Replace each <name>, as Fides does; None if a value is missing."""
    if any(name not in values for name in re.findall("<([^<>]+)>", text)):
        return None
    return re.sub("<([^<>]+)>", lambda match: values[match[1]], text)


def send(service: Service, request: dict[str, Any], token: str, values: Mapping[str, str]) -> Any:
    """Send one request of the connector; None if it is left out, since the person has no such identity."""
    body = filled(request["body"], values) if "body" in request else None
    if "body" in request and body is None:
        assert request["skip_missing_param_values"]
        return None
    headers = {header["name"]: filled(header["value"], values) or "" for header in request.get("headers", [])}
    [(_, setting)] = CONFIG["client_config"]["authentication"]["configuration"].items()
    headers["Authorization"] = f"Bearer {filled(setting, {'token': token})}"
    return service.client.request(request["method"], request["path"], content=body, headers=headers)


def erase(service: Service, token: str, privacy_request: str, identities: Mapping[str, str]) -> dict[str, Any]:
    """Carry a privacy request out: every collection is erased once."""
    values = {**identities, "privacy_request_id": privacy_request}
    return {endpoint["name"]: send(service, endpoint["requests"]["delete"], token, values) for endpoint in ENDPOINTS}


def test_an_erasure_is_accepted_by_every_run_and_a_repeated_one_is_the_same(service: Service) -> None:
    token = service.tokens.create("fides", Role.REQUESTER)
    answers = erase(service, token, "pri_1", {"external_id": "owner-3"})
    assert answers["owner_by_email"] is None, "the person has no email"
    accepted = answers["owner_by_external_id"]
    assert accepted.status_code == 202
    again = erase(service, token, "pri_1", {"external_id": "owner-3"})["owner_by_external_id"]
    assert again.json() == accepted.json()
    requests = [run["request_id"] for run in accepted.json()["runs"]]
    assert len(set(requests)) == 2
    assert "owner-3" not in service.log


def test_a_person_of_whom_nothing_is_held_is_no_error(service: Service) -> None:
    token = service.tokens.create("fides-unknown", Role.REQUESTER)
    answers = erase(service, token, "pri_2", {"email": "nobody@example.com", "external_id": "nobody"})
    for endpoint in ENDPOINTS:
        assert answers[endpoint["name"]].status_code in endpoint["requests"]["delete"]["ignore_errors"] == [404]


def test_an_identity_that_breaks_out_of_the_template_deletes_nothing(service: Service) -> None:
    token = service.tokens.create("fides-quotes", Role.REQUESTER)
    answers = erase(service, token, "pri_3", {"external_id": 'nobody", "owner": "owner-3'})
    assert (answers["owner_by_external_id"].status_code, "twice" in answers["owner_by_external_id"].text) == (422, True)


def test_the_test_of_the_connection_tells_a_wrong_token(service: Service) -> None:
    token = service.tokens.create("fides-test", Role.REQUESTER)
    request = CONFIG["test_request"]
    assert send(service, request, token, {}).status_code in request["ignore_errors"]
    assert send(service, request, "raymu_wrong", {}).status_code == 401


def test_the_files_have_what_fides_asks_for() -> None:
    assert CONFIG.keys() == CONFIG_FIELDS | {"test_request"}
    assert {param["name"] for param in CONFIG["connector_params"]} == {"domain", "token"}
    for endpoint in ENDPOINTS:
        assert endpoint.keys() == {"name", "requests"}
        [(action, request)] = endpoint["requests"].items()
        assert (action, request.keys()) == ("delete", REQUEST_FIELDS)
        named = {param["name"] for param in request["param_values"]}
        placeholders = set(re.findall("<([^<>]+)>", yaml.safe_dump([request["body"], request["headers"]])))
        assert placeholders == named | {"privacy_request_id"}
        assert all(param.keys() == {"name", "identity"} for param in request["param_values"])
    fields = {each["name"]: [field["name"] for field in each["fields"]] for each in DATASET["collections"]}
    assert fields == {
        each["name"]: [param["name"] for param in each["requests"]["delete"]["param_values"]] for each in ENDPOINTS
    }
    assert DATASET["fides_key"] == CONFIG["fides_key"] == "<instance_fides_key>"


FIDES = os.environ.get("FIDES_PYTHON")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[int]:
    """Start a Redis, and return its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    options = (
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(tmp_path),
        "--requirepass",
        "secret",
    )
    process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    yield port
    process.terminate()
    process.wait(timeout=30)


@pytest.mark.nightly
@pytest.mark.skipif(FIDES is None, reason="FIDES_PYTHON names no Python with ethyca-fides")
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="Redis is not installed")
def test_fides_itself_tests_the_connection_and_erases(tmp_path: Path, redis: int) -> None:
    write_samples(tmp_path / "all.parquet", samples=120, owners=8)
    data = {"owner": "owner", "train": str(tmp_path / "all.parquet")}
    config = make_config("", data=data, training={"epochs": 2}, partition={"shards": 2, "slices": 2})
    create_run(config, tmp_path / "letter")
    token = Tokens(tmp_path / "tokens.json").create("fides", Role.REQUESTER)
    certificate, key = write_certificate(tmp_path, "localhost", "127.0.0.1")
    with ZipFile(tmp_path / "raymu.zip", "w") as upload:
        for name in ("raymu_config.yml", "raymu_dataset.yml"):
            upload.write(FOLDER / name, name)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "FIDES__DEV_MODE": "true",  # otherwise it calls port 443 alone, and not this machine
        "FIDES__REDIS__HOST": "127.0.0.1",
        "FIDES__REDIS__PORT": str(redis),
        "FIDES__REDIS__PASSWORD": "secret",
        "FIDES__REDIS__USER": "",
        "FIDES__SECURITY__APP_ENCRYPTION_KEY": "0123456789abcdef" * 2,
        "FIDES__SECURITY__OAUTH_ROOT_CLIENT_ID": "root",
        "FIDES__SECURITY__OAUTH_ROOT_CLIENT_SECRET": "secret",
    }

    def carry_out(server: ServeProcess, token: str, identities: Mapping[str, str]) -> dict[str, Any]:
        task = {
            "zip": str(tmp_path / "raymu.zip"),
            "authority": str(certificate),
            "domain": server.url.removeprefix("https://"),
            "token": token,
            "privacy_request": "pri_1",
            "identities": identities,
        }
        command = [str(FIDES), str(ROOT / "tests" / "data" / "drive_fides.py")]
        done = subprocess.run(
            command,
            input=json.dumps(task),
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=environment,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    options = ("--tls-cert", str(certificate), "--tls-key", str(key))
    with ServeProcess(tmp_path, *options, runs=(tmp_path / "letter",), certificate=certificate) as server:
        assert carry_out(server, "raymu_wrong", {})["test"] == "ClientUnsuccessfulException"
        result = carry_out(server, token, {"external_id": "owner-3"})
    assert result["test"] == "succeeded"
    assert result["erased"] == {"owner_by_email": [0, 0], "owner_by_external_id": [1, 1]}
    [receipt] = Run(tmp_path / "letter", trust=True).receipts()
    assert receipt.samples > 0, "a privacy request that Fides repeats is one request"
