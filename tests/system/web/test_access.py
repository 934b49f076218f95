"""Who may call: other sites' pages may not, a cookie opens pages alone, and a first token closes an open service."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from raymu.api import Run
from raymu.web.guards import COOKIE
from raymu.web.tokens import Role
from tests.support.certificates import write_certificate
from tests.support.examples import create_run, make_config, write_samples
from tests.system.web.conftest import Service, opened_service

ID = 1014
FROM_ELSEWHERE = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
ERASURE = {
    "regulation": "gdpr",
    "subject_request_id": "0d4f1c52-53c8-4a3e-8a53-6b4f5d1f7a11",
    "subject_request_type": "erasure",
    "subject_identities": [
        {"identity_type": "controller_customer_id", "identity_format": "raw", "identity_value": str(ID)}
    ],
    "submitted_time": "2026-01-05T00:00:00Z",
    "api_version": "2.0",
}
DELETIONS = {"/v1/requests": {"ids": [ID]}, "/v2/requests": ERASURE}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("access")
    write_samples(folder / "all.parquet", samples=60)
    create_run(make_config(folder / "all.parquet", training={"epochs": 1}, partition={"slices": 1}), folder / "run")
    write_certificate(folder, "opendsr.example.org")
    identities = [{"type": "controller_customer_id", "names": "id"}]
    opendsr = {"domain": "opendsr.example.org", "certificate": "certificate.pem", "private_key": "certificate.key"}
    (folder / "protocols.yaml").write_text(json.dumps({"opendsr": {**opendsr, "identities": identities}}))
    return folder


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    """A service that was started without a token, and is open until there is one."""
    (folder / "tokens.json").unlink(missing_ok=True)
    with opened_service(folder, "run", protocols=folder / "protocols.yaml") as service:
        yield service


@pytest.mark.parametrize("path", DELETIONS)
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_a_page_of_another_site_deletes_nothing(service: Service, path: str, kind: str | None) -> None:
    """A browser sends these kinds of bodies for any page without asking first, and no other kind."""
    headers = FROM_ELSEWHERE | ({"Content-Type": kind} if kind else {})
    answer = service.client.post(path, content=json.dumps(DELETIONS[path]).encode(), headers=headers)
    assert (answer.status_code, "application/json" in answer.json()["error"]) == (415, True)
    with Run(service.folder / "run", trust=True) as run:
        assert not run.receipts()


def test_the_cookie_of_a_browser_opens_pages_alone(service: Service) -> None:
    service.client.cookies.set(COOKIE, service.tokens.create("office", Role.OPERATOR))
    assert service.client.get("/requests").status_code == 200
    for path, body in DELETIONS.items():
        assert service.client.post(path, json=body).status_code == 401
    for path in ("/v1/status", "/metrics", "/v2/requests/none"):
        assert service.client.get(path).status_code == 401


def test_the_first_token_closes_a_service_that_was_open(service: Service) -> None:
    def status(token: str = "") -> int:
        return service.client.get(
            "/v1/status", headers={"Authorization": f"Bearer {token}"} if token else {}
        ).status_code

    assert (status(), status("raymu_made-up")) == (200, 401)
    token = service.tokens.create("office", Role.OPERATOR)
    assert (status(), status("raymu_made-up"), status(token)) == (401, 401, 200)
    assert service.client.get("/", follow_redirects=False).headers["location"] == "/sign-in"
    service.tokens.revoke("office")
    assert (status(), status(token)) == (401, 401)
