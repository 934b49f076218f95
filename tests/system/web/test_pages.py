"""The pages for people: who may see what, what a form does, and that no raw id gets into an address or the log."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from raymu.web.tokens import Role
from tests.support.examples import create_run, make_config, write_samples
from tests.system.web.conftest import Service, opened_service

OWN = {"Sec-Fetch-Site": "same-origin"}
SAMPLE = 1007


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three runs of the same samples."""
    folder = tmp_path_factory.mktemp("pages")
    write_samples(folder / "all.parquet", samples=120, owners=8)
    data = {"owner": "owner", "train": str(folder / "all.parquet")}
    config = make_config("", data=data, training={"epochs": 2}, partition={"shards": 2, "slices": 2})
    for name in ("first", "second", "third"):
        create_run(config, folder / name)
    return folder


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    """A service of the first run, which any caller may use."""
    with opened_service(folder, "first") as service:
        yield service


def text_of(answer: Any) -> str:
    return " ".join("".join(ElementTree.fromstring(answer.text).itertext()).split())


def submit(service: Service, fields: dict[str, str], **headers: str) -> Any:
    return service.client.post("/requests", data=fields, headers=headers or OWN, follow_redirects=False)


def test_a_form_deletes_once_and_shows_the_request_with_its_receipt(service: Service) -> None:
    assert "Nothing is late, and nothing is owed." in text_of(service.client.get("/"))
    [key] = re.findall(r'name="key" value="([^"]+)"', service.client.get("/").text)
    fields = {"key": key, "ids": f" {SAMPLE} \r\n\r\n", "strategy": "sisa", "owner": "", "due": "2099-12-05"}
    answer = submit(service, fields)
    assert (answer.status_code, answer.headers["location"].split("/")[1]) == (303, "requests")
    assert submit(service, fields).headers["location"] == answer.headers["location"]
    request_id = answer.headers["location"].split("/")[2]
    service.wait_for(request_id, "settled")
    page = text_of(service.client.get(answer.headers["location"]))
    receipt = service.client.get(f"/requests/{request_id}/receipt.json")
    assert receipt.json() == service.client.get(f"/v1/receipts/{request_id}").json()
    assert f"receipt-{request_id}.json" in receipt.headers["content-disposition"]
    pdf = service.client.get(f"/requests/{request_id}/receipt.pdf")
    assert (pdf.headers["content-type"], pdf.content[:5]) == ("application/pdf", b"%PDF-")
    for text in (receipt.json()["signature"], "raymu verify RUN", "settled", "2099-12-05", "SHA-256 of the key"):
        assert text in page
    match = service.client.post("/find", data={"kind": "id", "value": str(SAMPLE)}, headers=OWN, follow_redirects=False)
    assert match.headers["location"] == answer.headers["location"]
    assert "No request has" in service.client.post("/find", data={"kind": "id", "value": "1"}, headers=OWN).text
    assert request_id in service.client.get(f"/requests?text={request_id[-6:]}&state=exact").text
    assert "No request matches" in service.client.get("/requests?state=late").text
    assert request_id in service.client.get("/requests?state=no+such&page=99999999999").text
    assert request_id in service.client.get("/runs/first").text


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "give ids, or an owner"),
        ({"ids": "5"}, "unknown sample"),
        ({"ids": "5", "due": "soon"}, "due"),
        ({"ids": "5", "strategy": "<b>"}, "strategy"),
        ({"ids": "5", "run": "nowhere"}, "no run of this service has that name"),
    ],
)
def test_a_form_that_is_refused_says_why_and_keeps_what_was_typed(
    service: Service, fields: dict[str, str], problem: str
) -> None:
    answer = submit(service, fields)
    assert answer.status_code in (404, 422)
    assert "Not accepted" in text_of(answer)
    assert problem in text_of(answer)
    assert fields.get("ids", "") in text_of(answer)
    assert "<b>" not in answer.text


def test_a_form_that_was_sent_with_another_deletion_is_a_new_one(service: Service) -> None:
    fields = {"key": "twice", "ids": "1021", "strategy": "sisa"}
    assert submit(service, fields).status_code == 303
    answer = submit(service, {**fields, "ids": "1028"})
    assert (answer.status_code, "was sent with another deletion" in text_of(answer)) == (409, True)
    [key] = re.findall(r'name="key" value="([^"]+)"', answer.text)
    assert key != "twice"
    assert submit(service, {**fields, "ids": "1028", "key": key}).status_code == 303


def test_other_sites_cannot_send_a_form(service: Service) -> None:
    fields = {"ids": str(SAMPLE)}
    others: list[dict[str, str]] = [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://elsewhere"},
        {"Origin": "null"},
        {"Accept": "*/*"},
    ]
    for path in ("/requests", "/find", "/sign-in", "/sign-out"):
        for headers in others:
            answer = service.client.post(path, data=fields, headers=headers, follow_redirects=False)
            assert answer.status_code == 403, (path, headers)
    assert service.client.post("/sign-out", headers={"Origin": "http://testserver"}).status_code == 200


@pytest.mark.parametrize("body", [b"\xff", b"a=%ff", b"&".join([b"a=1"] * 60)])
def test_what_is_no_form_is_refused(service: Service, body: bytes) -> None:
    headers = {**OWN, "Content-Type": "application/x-www-form-urlencoded"}
    assert service.client.post("/requests", content=body, headers=headers).status_code == 400


def test_every_page_loads_nothing_from_elsewhere_and_runs_no_script(service: Service) -> None:
    for path in ("/", "/requests", "/runs/first", "/requests/none", "/runs/none", "/sign-in"):
        answer = service.client.get(path)
        assert "default-src 'none'; style-src 'self'; form-action 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        ElementTree.fromstring(answer.text)
        assert not re.search(r"<script|<img|<style| style=| on\w+=|https?://", answer.text), path
    assert service.client.get("/style.css").headers["content-type"].startswith("text/css")


def test_no_raw_id_gets_into_the_access_log(service: Service) -> None:
    submit(service, {"owner": "owner-3", "ids": ""}, **OWN)
    service.client.get("/requests?text=owner-3")
    service.client.post("/find", data={"kind": "owner", "value": "owner-3"}, headers=OWN)  # leads to its request
    service.client.get("/")
    entries = [json.loads(line) for line in service.log.splitlines()]
    assert {"/", "/requests", "/find", "/requests/{request_id}"} <= {entry["route"] for entry in entries}
    assert "owner-3" not in service.log
    words = {word for entry in entries for name in ("caller", "route", "requests") for word in str(entry[name]).split()}
    assert str(SAMPLE) not in words


def test_people_sign_in_with_a_token_and_may_do_what_its_role_may(folder: Path) -> None:
    with opened_service(folder, "second", has_tokens=True) as service:
        client = service.client
        answer = client.get("/", follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        assert client.post("/sign-in", data={"token": "raymu_no"}, headers=OWN).status_code == 401
        allowed = {
            Role.REQUESTER: {"/": 200, "/requests": 200, "/runs/second": 403, "post": 422},
            Role.PREDICTOR: {"/": 403, "/requests": 403, "/runs/second": 403, "post": 403},
            Role.AUDITOR: {"/": 200, "/requests": 200, "/runs/second": 200, "post": 403},
            Role.OPERATOR: {"/": 200, "/requests": 200, "/runs/second": 200, "post": 422},
        }
        for role, statuses in allowed.items():
            token = service.tokens.create(f"the-{role}", role)
            answer = client.post("/sign-in", data={"token": token}, headers=OWN, follow_redirects=False)
            cookie = answer.headers["set-cookie"]
            assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
            for path, status in statuses.items():
                answer = submit(service, {"ids": ""}) if path == "post" else client.get(path)
                assert answer.status_code == status, (role, path)
            assert ('action="/requests" autocomplete' in client.get("/").text) is (statuses["post"] == 422)
            assert client.get("/v1/status").status_code == 401  # programs send their token themselves
            service.tokens.revoke(f"the-{role}")
            assert client.get("/", follow_redirects=False).headers["location"] == "/sign-in"


def test_a_deletion_in_several_runs_names_each_answer(folder: Path) -> None:
    with opened_service(folder, "second", "third") as service:
        answer = submit(service, {"ids": "1014", "strategy": "sisa"})
        assert answer.status_code == 202, text_of(answer)
        assert text_of(answer).count("accepted") == 2
        ids = re.findall(r'href="/requests/([^"]+)"', answer.text)
        assert len(ids) == 2
        for request_id in ids:
            service.wait_for(request_id, "settled")
        matches = service.client.post("/find", data={"kind": "id", "value": "1014"}, headers=OWN)
        assert all(request_id in matches.text for request_id in ids)
        assert len(re.findall('class="request"', service.client.get("/requests?run=second").text)) == 1
