"""OpenDSR 2.0, as a controller speaks it: discovery, erasures, their status, and callbacks, all signed."""

import base64
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sql
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from raymu.errors import ConfigInvalid
from raymu.store.journal.database import Database
from raymu.web.opendsr_requests import DsrRequests
from raymu.web.opendsr_signature import DomainSignature
from raymu.web.tokens import Role
from tests.support.certificates import write_certificate
from tests.support.cluster_process import wait_until
from tests.support.examples import create_run, make_config, write_samples
from tests.support.receiver import Receiver, receiving
from tests.system.web.conftest import Service, opened_service

DOMAIN = "opendsr.example.org"
OTHER_IDENTITY = {"identity_type": "email", "identity_format": "raw", "identity_value": "a@b.example"}
SUBMITTED = datetime.now(UTC) - timedelta(days=2)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of a run with owners and of one without, for controllers with tokens."""
    folder = tmp_path_factory.mktemp("opendsr")
    write_samples(folder / "all.parquet", samples=120, owners=8)
    for name, columns in (("owned", {"owner": "owner"}), ("plain", {})):
        short: dict[str, Any] = {
            "training": {"epochs": 2},
            "partition": {"slices": 2},
            "unlearning": {"strategy": "sisa"},
        }
        create_run(make_config("", data={"train": str(folder / "all.parquet"), **columns}, **short), folder / name)
    write_certificate(folder, DOMAIN)
    settings = {
        "opendsr": {
            "domain": DOMAIN,
            "certificate": "certificate.pem",
            "private_key": "certificate.key",
            "private_addresses": True,
            "identities": [
                {"type": "controller_customer_id"},
                {"type": "android_id", "names": "id"},
            ],
        }
    }
    (folder / "protocols.yaml").write_text(json.dumps(settings))
    with opened_service(folder, "owned", "plain", has_tokens=True, protocols=folder / "protocols.yaml") as service:
        service.client.headers |= service.as_caller(Role.REQUESTER)
        yield service


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def erasure(*values: str, kind: str = "controller_customer_id", **fields: Any) -> dict[str, Any]:
    identities = [{"identity_type": kind, "identity_format": "raw", "identity_value": value} for value in values]
    return {
        "regulation": "gdpr",
        "subject_request_id": str(uuid4()),
        "subject_request_type": "erasure",
        "subject_identities": identities,
        "submitted_time": SUBMITTED.isoformat(),
        "api_version": "2.0",
        **fields,
    }


def check_signature(service: Service, headers: Mapping[str, str], body: bytes) -> None:
    """Raise InvalidSignature unless the body is signed by the certificate that the discovery names."""
    url = service.client.get("/v2/discovery").json()["processor_certificate"]
    assert url == f"https://{DOMAIN}/v2/certificate"
    certificate = x509.load_pem_x509_certificate(service.client.get("/v2/certificate").content)
    assert headers["x-opendsr-processor-domain"] == DOMAIN
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(base64.b64decode(headers["x-opendsr-signature"]), body, padding.PKCS1v15(), hashes.SHA256())


def test_the_discovery_names_what_is_supported_to_anyone(service: Service) -> None:
    answer = service.client.get("/v2/discovery", headers={"Authorization": ""})
    document = answer.json()
    assert (answer.status_code, document["api_version"]) == (200, "2.0")
    assert document["supported_subject_request_types"] == ["erasure"]
    assert {"identity_type": "android_id", "identity_format": "raw"} in document["supported_identities"]
    check_signature(service, answer.headers, answer.content)


def test_an_erasure_is_carried_out_signed_and_called_back(service: Service, receiver: Receiver) -> None:
    body = erasure("owner-3", status_callback_urls=[receiver.url])
    answer = service.client.post("/v2/requests", json=body)
    assert answer.status_code == 201, answer.text
    check_signature(service, answer.headers, answer.content)
    document = answer.json()
    assert document["subject_request_id"] == body["subject_request_id"]
    assert document["controller_id"] == "the-requester"
    assert json.loads(base64.b64decode(document["encoded_request"])) == body
    due = datetime.fromisoformat(document["expected_completion_time"])
    assert abs(due - SUBMITTED - timedelta(days=30)) < timedelta(seconds=2)
    again = service.client.post("/v2/requests", json=body).json()
    assert again == document
    deliveries = receiver.wait_for(lambda deliveries: len(deliveries) == 2)
    statuses = []
    for delivery in deliveries:
        check_signature(service, delivery.headers, delivery.body)
        callback = json.loads(delivery.body)
        assert callback["status_callback_url"] == receiver.url
        assert callback["subject_request_id"] == body["subject_request_id"]
        statuses.append(callback["request_status"])
        assert b"owner-3" not in delivery.body
    assert sorted(statuses) == ["completed", "in_progress"]
    for path in ("requests", "status"):
        state = service.client.get(f"/v2/{path}/{body['subject_request_id']}")
        check_signature(service, state.headers, state.content)
        assert (state.status_code, state.json()["request_status"]) == (200, "completed")
    assert service.delete({"owner": "owner-3", "run": "owned"}).status_code == 200  # revoked before
    refused = service.client.delete(f"/v2/requests/{body['subject_request_id']}")
    assert (refused.status_code, "cannot be cancelled" in refused.json()["error"]["message"]) == (400, True)
    assert b"owner-3" not in (service.folder / "protocols.sqlite").read_bytes()
    assert "owner-3" not in service.log


def test_a_subject_that_no_run_holds_is_erased_already(service: Service) -> None:
    body = erasure("nobody")
    assert service.client.post("/v2/requests", json=body).status_code == 201
    state = service.client.get(f"/v2/requests/{body['subject_request_id']}").json()
    assert state["request_status"] == "completed"


def test_samples_are_named_by_their_ids_in_every_run(service: Service) -> None:
    body = erasure("1007", "1014", kind="android_id")
    assert service.client.post("/v2/requests", json=body).status_code == 201
    for name in ("owned", "plain"):
        answer = service.delete({"ids": [1007, 1014], "run": name})
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["runs"][0]["earlier_requests"]) == 2


def test_a_request_that_is_sent_again_with_one_more_identity_is_completed_with_the_last_of_them(
    service: Service,
) -> None:
    body = erasure("owner-1")
    path = f"/v2/requests/{body['subject_request_id']}"
    assert service.client.post("/v2/requests", json=body).status_code == 201
    wait_until(lambda: service.client.get(path).json()["request_status"] == "completed", "the first is erased")
    more = {**body, "subject_identities": erasure("owner-1", "owner-2")["subject_identities"]}
    assert service.client.post("/v2/requests", json=more).status_code == 201
    [request_id] = service.delete({"owner": "owner-2", "run": "owned"}).json()["runs"][0]["earlier_requests"]
    kept = DsrRequests(Database(sql.URL.create("sqlite", database=str(service.folder / "protocols.sqlite")))).find(
        "the-requester", body["subject_request_id"]
    )
    assert kept is not None
    assert request_id in kept.request_ids
    assert len(kept.request_ids) == 2
    wait_until(lambda: service.client.get(path).json()["request_status"] == "completed", "both are erased")
    assert service.client.get(f"/v1/receipts/{request_id}").json()["settled_at"]


def test_another_controller_sees_nothing_of_it(service: Service) -> None:
    body = erasure("nobody")
    service.client.post("/v2/requests", json=body)
    operator = service.as_caller(Role.OPERATOR)
    path = f"/v2/requests/{body['subject_request_id']}"
    assert service.client.get(path, headers=operator).status_code == 404
    assert service.client.delete(path, headers=operator).status_code == 404
    assert service.client.get(path).status_code == 200
    for call in (service.client.get, service.client.delete):
        assert call(path, headers={"Authorization": "Bearer raymu_no"}).status_code == 401


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"subject_request_type": "access"}, "only requests of the type erasure"),
        ({"subject_request_type": "portability"}, "only requests of the type erasure"),
        ({"subject_request_id": "12"}, "subject_request_id"),
        ({"subject_request_id": "A7551968-D5D6-44B2-9831-815AC9017798"}, "lowercase UUID of version 4"),
        ({"regulation": "other"}, "regulation"),
        ({"submitted_time": "2018-10-02T15:00:00"}, "submitted_time"),
        ({"submitted_time": "9999-12-31T00:00:00Z"}, "submitted_time is not a time until now"),
        ({"subject_identities": []}, "subject_identities"),
        ({"subject_identities": [OTHER_IDENTITY]}, "discovery"),
        ({"status_callback_urls": ["ftp://a.example"]}, "is no URL of https"),
        ({"status_callback_urls": ["https://a.example/"] * 11}, "status_callback_urls"),
    ],
)
def test_what_cannot_be_honoured_is_refused_in_one_signed_line(
    service: Service, fields: dict[str, Any], problem: str
) -> None:
    answer = service.client.post("/v2/requests", json=erasure("owner-5") | fields)
    assert answer.status_code == 400, answer.text
    check_signature(service, answer.headers, answer.content)
    error = answer.json()["error"]
    assert (error["code"], problem in error["message"]) == (400, True), error
    assert "\n" not in error["message"]
    assert "a@b.example" not in answer.text
    assert service.delete({"ids": [5]}).status_code == 404


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b" " * 300_000])
def test_what_is_no_request_is_refused(service: Service, payload: bytes) -> None:
    answer = service.client.post("/v2/requests", content=payload, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)


def test_a_request_id_of_another_request_is_refused(service: Service) -> None:
    body = erasure("owner-6")
    assert service.client.post("/v2/requests", json=body).status_code == 201
    body["subject_identities"][0]["identity_value"] = "owner-7"
    answer = service.client.post("/v2/requests", json=body)
    assert (answer.status_code, "belongs to another" in answer.json()["error"]["message"]) == (400, True)


def test_a_key_or_a_certificate_of_something_else_is_refused(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, DOMAIN)
    DomainSignature(DOMAIN, certificate, key)
    with pytest.raises(ConfigInvalid, match=r"is not of other\.example"):
        DomainSignature("other.example", certificate, key)
    with pytest.raises(ConfigInvalid, match="is no certificate of a domain"):
        DomainSignature(DOMAIN, key, key)
    with pytest.raises(ConfigInvalid, match="is no key"):
        DomainSignature(DOMAIN, certificate, certificate)
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        DomainSignature(DOMAIN, tmp_path / "missing", key)
