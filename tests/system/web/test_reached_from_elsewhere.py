"""A service that other machines can reach: by every address, with TLS, and by proxies."""

import http.client
import socket
import ssl
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("fastapi")

from raymu.web.tokens import Role, Tokens
from tests.support.certificates import write_certificate
from tests.support.serve_process import ServeProcess
from tests.support.trained_runs import RunTemplates


def own_addresses() -> dict[socket.AddressFamily, str]:
    """Return an address for each kind that this machine has, not of the loopback device if there is another."""
    addresses = {socket.AF_INET: "127.0.0.1"}
    if socket.has_dualstack_ipv6():
        addresses[socket.AF_INET6] = "::1"
    for device in psutil.net_if_addrs().values():
        for each in device:
            if each.family in addresses and not each.address.startswith(("127.", "::1", "fe80:")):
                addresses[socket.AddressFamily(each.family)] = each.address
    return addresses


ADDRESSES = own_addresses()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The certificate of a server, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    return write_certificate(folder, "localhost", "127.0.0.1", *ADDRESSES.values())


@pytest.fixture(scope="module")
def service(
    run_templates: RunTemplates, tmp_path_factory: pytest.TempPathFactory, files: tuple[Path, Path]
) -> Iterator[ServeProcess]:
    folder = tmp_path_factory.mktemp("elsewhere")
    location = run_templates.copy(folder / "letter", partition={"slices": 2}).location
    Tokens(folder / "tokens.json").create("first", Role.OPERATOR)
    host = "::" if socket.AF_INET6 in ADDRESSES else "0.0.0.0"
    certificate, key = files
    options = ("--host", host, "--tls-cert", str(certificate), "--tls-key", str(key), "--calls-per-second", "20")
    with ServeProcess(folder, *options, runs=(location,), certificate=certificate) as service:
        yield service


def url_of(service: ServeProcess, address: str) -> str:
    return f"https://[{address}]:{service.port}" if ":" in address else f"https://{address}:{service.port}"


@pytest.mark.parametrize("family", ADDRESSES)
def test_it_answers_at_every_address_and_asks_for_a_token(service: ServeProcess, family: socket.AddressFamily) -> None:
    url = url_of(service, ADDRESSES[family])
    assert service.call("/healthz", url=url).status == 200
    refused = service.call("/v1/requests", {"ids": [1007]}, url=url)
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    auditor = service.token(Role.AUDITOR)
    assert service.call("/v1/requests", {"ids": [1007]}, url=url, token=auditor).status == 403
    status = service.call("/v1/status", url=url, token=auditor)
    assert list(status.document["runs"]) == ["letter"]


def test_a_client_that_does_not_know_the_authority_goes_no_further(service: ServeProcess) -> None:
    stranger = ssl.create_default_context()
    place = (ADDRESSES[socket.AF_INET], service.port)
    with socket.create_connection(place, timeout=30) as connection, pytest.raises(ssl.SSLCertVerificationError):
        stranger.wrap_socket(connection, server_hostname="localhost")
    assert service.call("/healthz", url=url_of(service, "127.0.0.1")).status == 200


def test_a_call_without_tls_gets_no_answer_and_harms_nothing(service: ServeProcess) -> None:
    plain = http.client.HTTPConnection(ADDRESSES[socket.AF_INET], service.port, timeout=30)
    plain.request("GET", "/v1/status", headers={"Authorization": f"Bearer {service.token(Role.AUDITOR)}"})
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        plain.getresponse()
    plain.close()
    assert service.call("/healthz", url=url_of(service, "127.0.0.1")).status == 200


def test_the_cookie_of_a_person_is_sent_over_tls_alone(service: ServeProcess, files: tuple[Path, Path]) -> None:
    context = ssl.create_default_context(cafile=files[0])
    address = ADDRESSES[socket.AF_INET]
    connection = http.client.HTTPSConnection(address, service.port, timeout=30, context=context)
    origin = f"https://{address}:{service.port}"
    form = f"token={service.token(Role.AUDITOR)}"
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": origin}
    connection.request("POST", "/sign-in", form, headers)
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 303
    attributes = {part.strip().lower() for part in (answer.headers["Set-Cookie"] or "").split(";")}
    assert {"secure", "httponly", "samesite=strict"} <= attributes
    connection.request("POST", "/sign-in", form, {**headers, "Origin": "https://elsewhere.example.org"})
    assert connection.getresponse().status == 403
    connection.close()


@pytest.mark.skipif(ADDRESSES[socket.AF_INET].startswith("127."), reason="no address but the loopback one")
def test_a_caller_elsewhere_cannot_say_that_it_is_another(service: ServeProcess) -> None:
    """Otherwise it would have the rate of many callers."""
    url = url_of(service, ADDRESSES[socket.AF_INET])
    answers = [service.call("/v1/status", url=url, X_Forwarded_For=f"203.0.113.{number}") for number in range(60)]
    assert {answer.status for answer in answers} == {401, 429}


def test_a_proxy_of_this_machine_says_who_calls(service: ServeProcess) -> None:
    url = url_of(service, "127.0.0.1")
    answers = [service.call("/v1/status", url=url, X_Forwarded_For=f"203.0.113.{number}") for number in range(60)]
    assert {answer.status for answer in answers} == {401}


def test_an_end_is_not_forgotten_for_connections_that_wait(service: ServeProcess) -> None:
    """Comes last: it stops the service."""
    with socket.create_connection((ADDRESSES[socket.AF_INET], service.port), timeout=30):
        assert service.stop() == ""
    assert service.process.returncode == 0
    with pytest.raises(urllib.error.URLError):
        service.call("/healthz", url=url_of(service, "127.0.0.1"))
