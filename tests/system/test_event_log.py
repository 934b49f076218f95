"""raymu's log: one line for each event, without ids, owners, keys and features."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import raymu
from raymu.errors import RaymuError, ShardRepairFailed
from raymu.service.event_log import LogForm, configure_logging, is_logged
from raymu.service.shard.messages import RepairTask
from raymu.store.run import RunStore
from tests.support.coordinated_run import opened
from tests.support.examples import make_config, write_samples
from tests.support.scripted_fleet import ScriptedFleet

UNKNOWN_ID, UNKNOWN_OWNER, KEY = "sample-of-nobody", "owner-unheard-of", "ticket-of-mrs-miller"


@pytest.fixture(autouse=True)
def _quiet_afterwards() -> Iterator[None]:
    logger = logging.getLogger("raymu")
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, level, logger.propagate = before
    logger.setLevel(level)


class Subjects:
    """A data set whose ids, owners and features are easily recognised, and a run that revokes some of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.table = write_samples(folder / "all.parquet", text_ids=True)

    def live(self) -> str:
        """Train, revoke by id and by owner with each strategy, send a refused request, and settle. Returns the run's id."""
        unlearning = {"contributions": "group", "groups_per_slice": 2, "boundary": 0.7}
        config = make_config(self._folder / "all.parquet", data={"owner": "owner"}, unlearning=unlearning)
        ids, owners = self.table["id"].to_pylist(), self.table["owner"].to_pylist()
        with raymu.train(config, self._folder / "run") as run:
            for number, strategy in enumerate(("sisa", "dpus", "hs", "ohs")):
                run.revoke(ids[number * 3 : number * 3 + 3], strategy=strategy, key=f"{KEY}-{number}")
            run.revoke(owner=owners[100], key=KEY)
            for refused in (
                {"ids": ids[:2]},
                {"ids": [UNKNOWN_ID]},
                {"owner": UNKNOWN_OWNER},
                {"ids": ids[20:21], "key": KEY},
            ):
                with pytest.raises(RaymuError):
                    run.revoke(**refused)
            answers = run.revoke_many(
                [
                    raymu.Revocation(ids=(sample_id,), key=f"{KEY}-{sample_id}")
                    for sample_id in (*ids[30:40], UNKNOWN_ID)
                ]
            )
            assert sum(answer.refusal is not None for answer in answers) == 1
            run.revoke(ids[50:53], strategy="dpus")  # so that there is something to settle
            run.settle()
        return RunStore(run.location).manifest.run_id

    @property
    def secrets(self) -> set[str]:
        features = np.stack(self.table["features"].to_numpy(zero_copy_only=False)).ravel()
        named = {"sample-", "owner-", UNKNOWN_ID, UNKNOWN_OWNER, KEY}
        return named | {text for value in features if len(text := str(value)) > 8}


def log_of(subjects: Subjects, form: LogForm) -> tuple[str, list[str]]:
    """Return the run's id and the lines of its log."""
    stream = io.StringIO()
    configure_logging(stream, form)
    run = subjects.live()
    return run, stream.getvalue().splitlines()


@pytest.mark.parametrize("form", LogForm)
def test_no_line_names_a_sample_an_owner_a_key_or_a_feature(tmp_path: Path, form: LogForm) -> None:
    subjects = Subjects(tmp_path)
    _, lines = log_of(subjects, form)
    assert len(lines) > 50
    for line in lines:
        assert not [secret for secret in subjects.secrets if secret in line], line


def test_each_line_is_a_json_object_about_the_run(tmp_path: Path) -> None:
    run, lines = log_of(Subjects(tmp_path), LogForm.JSON)
    records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert {line["run"] for line in records} == {run}
    assert {line["level"] for line in records} == {"info"}
    assert sorted(line["time"] for line in records) == [line["time"] for line in records]
    kinds = {line["event"] for line in records}
    of_coordinator = {"opened", "closed", "trained", "accepted", "published", "repaired", "purged", "settle", "resumed"}
    assert kinds == of_coordinator | {"work_begun", "stage_trained", "work_done"}


def test_a_request_can_be_followed_from_its_acceptance_to_its_purge(tmp_path: Path) -> None:
    table = write_samples(tmp_path / "all.parquet")
    with raymu.train(make_config(tmp_path / "all.parquet"), tmp_path / "run") as run:
        stream = io.StringIO()
        configure_logging(stream, LogForm.JSON)
        receipt = run.revoke(table["id"].to_pylist()[:1], strategy="sisa")
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    of_request = [line for line in records if receipt.request_id in line.get("request_ids", ())]
    steps = ["accepted", "published", "work_begun", "work_done", "repaired", "published", "purged"]
    assert [record["event"] for record in of_request] == steps
    [part], repaired = receipt.shards, of_request[4]
    assert (repaired["shard"], repaired["remedy"], repaired["seconds"]) == (part.shard, "retrain", part.seconds)


def test_interrupted_work_is_logged_without_the_text_of_the_error(tmp_path: Path) -> None:
    def lose_samples(_task: RepairTask) -> None:
        for file in (tmp_path / "run" / "samples").iterdir():
            file.unlink()

    ids = write_samples(tmp_path / "all.parquet")["id"].to_pylist()
    raymu.train(make_config(tmp_path / "all.parquet"), tmp_path / "run").close()
    stream = io.StringIO()
    configure_logging(stream, LogForm.JSON)
    fleet = ScriptedFleet(RunStore(str(tmp_path / "run")), before=lose_samples)
    with opened(tmp_path / "run", fleet) as run, pytest.raises(ShardRepairFailed, match="samples/"):
        run.revoke(ids[:1], strategy="sisa")
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["event"], line.get("error")) for line in records] == [
        ("work_begun", None),
        ("work_failed", "FileMissing"),
    ]
    assert "samples/" not in stream.getvalue()


def test_records_of_libraries_are_logged_too() -> None:
    stream = io.StringIO()
    configure_logging(stream, LogForm.JSON)
    try:
        raise ValueError(KEY)
    except ValueError:
        logging.getLogger("raymu.service.coordinator.accuracy").warning(
            "generation %d was not measured", 3, exc_info=True
        )
    [line] = stream.getvalue().splitlines()
    record = json.loads(line)
    assert (record["event"], record["level"], record["error"]) == (
        "generation 3 was not measured",
        "warning",
        "ValueError",
    )
    assert KEY not in line


def test_nothing_is_logged_by_default(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert not is_logged()
    Subjects(tmp_path).live()
    assert capfd.readouterr() == ("", "")
