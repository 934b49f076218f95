"""Tokens, the intake of requests, and what the service refuses to serve."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from raymu.errors import ConfigInvalid, RequestInvalid, StorageFailed
from raymu.service.requests.revocation import Revocation, SubmissionResult
from raymu.web.intake import MOST_TOGETHER, Intake
from raymu.web.server import ServerSettings, require_safe
from raymu.web.tokens import Role, Tokens
from tests.support.certificates import write_certificate


def test_a_token_is_known_by_its_hash_until_it_is_revoked(tmp_path: Path) -> None:
    tokens, others = Tokens(tmp_path / "tokens.json"), Tokens(tmp_path / "tokens.json")
    assert not others.has_any
    text = tokens.create("crm", Role.REQUESTER)
    file = tmp_path / "tokens.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert text not in file.read_text()
    token = others.find(text)
    assert token is not None
    assert (token.name, token.role) == ("crm", Role.REQUESTER)
    assert others.find(text[:-1]) is None
    with pytest.raises(RequestInvalid, match="is there already"):
        others.create("crm", Role.OPERATOR)
    tokens.revoke("crm")
    assert (others.find(text), others.has_any) == (None, False)
    with pytest.raises(RequestInvalid, match="no token is named crm"):
        tokens.revoke("crm")
    assert tokens.create("crm", Role.AUDITOR) != text
    assert [each.revoked_at is None for each in others.all()] == [False, True]


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "../x", "ü"])
def test_a_name_that_logs_could_not_show_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestInvalid, match="is no name for a token"):
        Tokens(tmp_path / "tokens.json").create(name, Role.REQUESTER)
    assert not (tmp_path / "tokens.json").exists()


def test_a_damaged_file_of_tokens_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    for payload in ("{}x", json.dumps({"tokens": [{"name": "a"}]}), "[]"):
        file.write_text(payload)
        with pytest.raises(ConfigInvalid, match="is no file of tokens"):
            Tokens(file).find("raymu_x")


@pytest.mark.parametrize(
    ("host", "is_loopback"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False)]
)
def test_others_reach_no_service_that_asks_for_no_token(tmp_path: Path, host: str, is_loopback: bool) -> None:
    settings = ServerSettings(host=host, tokens=tmp_path / "tokens.json")
    require_safe(settings, has_tokens=True)
    if is_loopback:
        require_safe(settings, has_tokens=False)
    else:
        with pytest.raises(ConfigInvalid, match="no token is valid"):
            require_safe(settings, has_tokens=False)


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").touch()
    settings = ServerSettings(tokens=tmp_path / "t", certificate=tmp_path / "cert.pem")
    with pytest.raises(ConfigInvalid, match="both a certificate and its key"):
        require_safe(settings, has_tokens=False)


def test_files_that_are_no_certificate_with_its_key_are_refused(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "localhost")

    def require(cert: Path, own_key: Path) -> None:
        require_safe(
            ServerSettings(tokens=tmp_path / "t", certificate=cert, private_key=own_key),
            has_tokens=False,
        )

    require(certificate, key)
    junk, other, locked = (tmp_path / name for name in ("junk", "other", "locked"))
    junk.write_text("junk")
    other_key = ec.generate_private_key(ec.SECP256R1())
    own = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    other.write_bytes(other_key.private_bytes(*own, serialization.NoEncryption()))
    locked.write_bytes(other_key.private_bytes(*own, serialization.BestAvailableEncryption(b"secret")))
    with pytest.raises(ConfigInvalid, match="no certificate and its key, as PEM"):
        require(junk, key)
    with pytest.raises(ConfigInvalid, match=r"no certificate and its key|another certificate"):
        require(certificate, other)
    with pytest.raises(ConfigInvalid, match="locked asks for a passphrase; give a key without one"):
        require(certificate, locked)


def test_requests_that_arrive_together_are_committed_together() -> None:
    commits: list[int] = []

    async def accept(revocations: Sequence[Revocation]) -> list[SubmissionResult]:
        commits.append(len(revocations))
        await asyncio.sleep(0.01)
        return [SubmissionResult(request_id=str(revocation.ids[0])) for revocation in revocations]

    async def main() -> list[SubmissionResult]:
        intake = Intake(accept)
        first = asyncio.ensure_future(intake.submit(Revocation(ids=(0,))))
        await asyncio.sleep(0.005)
        others = [intake.submit(Revocation(ids=(number,))) for number in range(1, MOST_TOGETHER + 10)]
        results = [*await asyncio.gather(*others), await first]
        await intake.close()
        return results

    results = asyncio.run(main())
    assert sorted(int(result.request_id or -1) for result in results) == list(range(MOST_TOGETHER + 10))
    assert commits == [1, MOST_TOGETHER, 9]


def test_a_failed_commit_fails_its_requests_and_not_the_next_ones() -> None:
    failures = [StorageFailed("the journal", "full")]

    async def accept(revocations: Sequence[Revocation]) -> list[SubmissionResult]:
        if failures:
            raise failures.pop()
        return [SubmissionResult(request_id="r")] * len(revocations)

    async def main() -> SubmissionResult:
        intake = Intake(accept)
        with pytest.raises(StorageFailed):
            await intake.submit(Revocation(ids=(1,)))
        return await intake.submit(Revocation(ids=(1,)))

    assert asyncio.run(main()).request_id == "r"
