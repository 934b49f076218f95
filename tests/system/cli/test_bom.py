"""`raymu bom`: the document follows CycloneDX' own schema, and has the served generation and nothing that was revoked."""

import asyncio
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from raymu.cli import run_command
from raymu.service.coordinator.coordinator import Coordinator
from raymu.service.requests.revocation import Revocation
from raymu.service.shard.fleet import LocalFleet
from raymu.store.run import RunStore
from tests.support.trained_runs import RunTemplates, TrainedRun

validation = pytest.importorskip("cyclonedx.validation.json")
from cyclonedx.schema import SchemaVersion  # noqa: E402

GOLDEN = sorted((Path(__file__).parents[2] / "golden_runs" / "0.1").rglob("run.json"))


@pytest.fixture
def run(run_templates: RunTemplates, tmp_path: Path) -> TrainedRun:
    return run_templates.copy(tmp_path / "run")


def written(run: Path, out: Path) -> dict[str, Any]:
    """Write the document, and check it by its schema."""
    code, error = run_command(["bom", str(run), str(out)])
    assert code == 0, error
    text = out.read_text(encoding="utf-8")
    assert validation.JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document: dict[str, Any] = json.loads(text)
    return document


def properties(document: dict[str, Any]) -> dict[str, str]:
    card = document["metadata"]["component"]["modelCard"]
    return {entry["name"].removeprefix("raymu:"): entry["value"] for entry in card["properties"]}


def test_every_file_is_there_by_its_hash(run: TrainedRun, tmp_path: Path) -> None:
    document = written(run.location, tmp_path / "bom.json")
    model, [data, *libraries] = document["metadata"]["component"], document["components"]
    files = [*model["components"], *data["components"]]
    assert len(model["components"]) == 1 + run.config.partition.shards
    for file in files:
        assert file["hashes"] == [
            {"alg": "SHA-256", "content": hashlib.sha256((run.location / file["name"]).read_bytes()).hexdigest()}
        ]
    assert [library["name"] for library in libraries] == ["raymu", "torch"]
    assert properties(document)["training.epochs"] == str(run.config.training.epochs)
    assert str(tmp_path) not in json.dumps(document), "folders are not for readers"


def test_the_same_generation_has_the_same_document_and_the_next_has_nothing_of_what_was_revoked(
    run: TrainedRun, tmp_path: Path
) -> None:
    first = written(run.location, tmp_path / "first.json")
    assert (tmp_path / "first.json").read_bytes() == (
        (tmp_path / "again.json").read_bytes() if written(run.location, tmp_path / "again.json") == first else b""
    )
    run.revoke(run.ids(shard=0)[:2], strategy="sisa")
    second = written(run.location, tmp_path / "second.json")
    assert first["serialNumber"] != second["serialNumber"]
    gone = first["components"][0]["components"][0]["hashes"][0]["content"]
    assert gone not in json.dumps(second)
    facts = properties(second)
    assert (facts["revocations.requests"], facts["revocations.samples"], facts["revocations.exactness"]) == (
        "1",
        "2",
        "exact",
    )


def test_a_patch_is_approximate_until_it_is_settled(run: TrainedRun, tmp_path: Path) -> None:
    run.revoke(run.ids(shard=0)[:2], strategy="dpus")
    document = written(run.location, tmp_path / "bom.json")
    limitations = document["metadata"]["component"]["modelCard"]["considerations"]["technicalLimitations"]
    assert "Approximate: 1 shard of 2 only patched" in limitations[1]
    run.settle()
    assert properties(written(run.location, tmp_path / "bom.json"))["revocations.exactness"] == "exact"


def test_nothing_is_written_while_an_accepted_request_is_not_carried_out(run: TrainedRun, tmp_path: Path) -> None:
    store = RunStore(str(run.location))
    coordinator = Coordinator(store, LocalFleet(store))

    async def accept_and_leave() -> None:
        await coordinator.accept([Revocation(ids=(run.ids(shard=0)[0],), strategy="sisa")])
        await coordinator.close()

    asyncio.run(accept_and_leave())
    code, error = run_command(["bom", str(run.location), str(tmp_path / "bom.json")])
    assert (code, "1 accepted request not carried out yet" in str(error)) == (2, True)
    assert not (tmp_path / "bom.json").exists()
    run.settle()
    assert properties(written(run.location, tmp_path / "bom.json"))["revocations.exactness"] == "exact"


def test_a_run_of_version_0_1_has_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYMU_ANCHORS", str(tmp_path / "anchors"))  # other tests change copies of the same runs
    for number, manifest in enumerate(GOLDEN):
        shutil.copytree(manifest.parent, tmp_path / str(number))
        assert run_command(["settle", str(tmp_path / str(number))])[0] == 0  # a request of theirs waits
        assert written(tmp_path / str(number), tmp_path / "bom.json")["bomFormat"] == "CycloneDX"


@pytest.mark.parametrize(
    ("file", "line"), [("bom.xml", "of no known format"), ("run/bom.json", "in the run's directory")]
)
def test_nothing_is_written_where_it_cannot_be(run: TrainedRun, tmp_path: Path, file: str, line: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    code, error = run_command(["bom", str(run.location), str(tmp_path / file)])
    assert (code, line in str(error)) == (2, True)
    assert sorted(tmp_path.rglob("*")) == before
