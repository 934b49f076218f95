"""A repair reports how far it moved predictions, and a settled receipt how far its patch was from retraining."""

from pathlib import Path

import numpy as np
import pytest

from raymu.api import open_run
from raymu.console.request_tables import show_receipt
from raymu.console.run_tables import show_status
from raymu.console.screen import Screen
from raymu.core.prediction_change import FEWEST_SAMPLES
from raymu.core.records import Exactness, Remedy, SampleId
from raymu.report.write import write_report
from raymu.service.status import status
from raymu.store.codec import to_json
from raymu.training.classifier import Classifier
from tests.support.coordinated_run import issued_receipts, journal_events, lineage_of, restored, samples_of
from tests.support.trained_runs import TrainedRun, TrainedRunFactory

FIT = {"epochs": 12, "learning_rate": 0.2}


def serving(run: TrainedRun) -> Classifier:
    return restored(run.location, lineage_of(run.location, 0).serving)


def difference(run: TrainedRun, first: Classifier, second: Classifier, ids: list[SampleId]) -> float:
    samples = samples_of(run.config, ids)
    rows = np.arange(len(samples))
    before, after = (model.probabilities(samples.features)[rows, samples.labels] for model in (first, second))
    return float(np.abs(before.astype(np.float64) - after).mean())


def test_a_patch_and_its_settlement_report_what_they_changed(trained_run: TrainedRunFactory) -> None:
    run = trained_run(training=FIT)
    forget, other = run.ids(shard=0)[:FEWEST_SAMPLES], run.ids(shard=1)
    retained = run.ids(shard=0)[FEWEST_SAMPLES:]
    untouched = serving(run)
    [part] = run.revoke(forget, strategy="dpus").shards
    patched = serving(run)
    assert part.remedy is Remedy.PATCH
    assert part.change is not None
    assert part.change.forgotten == pytest.approx(difference(run, untouched, patched, forget))
    assert part.change.retained == pytest.approx(difference(run, untouched, patched, retained))
    assert part.change.unseen == pytest.approx(difference(run, untouched, patched, other))
    assert part.residual is None
    run.settle()
    [part] = issued_receipts(run.location)[-1].shards
    assert part.residual is not None
    assert part.residual.forgotten is None
    assert part.residual.retained == pytest.approx(difference(run, patched, serving(run), retained))
    assert part.residual.unseen == pytest.approx(difference(run, patched, serving(run), other))
    assert status(run.store).residuals.residual.change == part.residual


def test_a_retraining_reports_how_far_the_untouched_state_was(trained_run: TrainedRunFactory) -> None:
    run = trained_run(training=FIT)
    forget, untouched = run.ids(shard=0, slice_index=2)[:3], serving(run)
    [part] = run.revoke(forget, strategy="sisa").shards
    assert part.change is not None
    assert part.change.unseen == pytest.approx(difference(run, untouched, serving(run), run.ids(shard=1)))
    assert status(run.store).residuals.untouched.change == part.change


def test_too_few_forgotten_samples_leave_no_number_and_no_name(trained_run: TrainedRunFactory) -> None:
    run = trained_run(training=FIT, samples={"text_ids": True})
    forget = run.ids(shard=0)[: FEWEST_SAMPLES - 1]
    [part] = run.revoke(forget, strategy="dpus").shards
    run.settle()
    assert part.change is not None
    assert part.change.forgotten is None
    [settled] = issued_receipts(run.location)[-1].shards
    assert settled.residual is not None
    events = [event for event in journal_events(run.location) if event.kind == "repaired"]
    for record in (*events, settled, status(run.store)):
        assert b"sample-" not in to_json(record)


def test_samples_of_another_shard_that_are_revoked_are_not_predicted(trained_run: TrainedRunFactory) -> None:
    run = trained_run(training=FIT)
    others = run.ids(shard=1)
    gone = others[: len(others) - FEWEST_SAMPLES + 1]
    [part, _] = run.revoke([run.ids(shard=0)[0], *gone], strategy="dpus").shards
    assert part.shard == 0
    assert part.change is not None
    assert part.change.unseen is None, "too few are left"
    assert part.change.retained is not None


def test_a_lost_table_of_another_shard_does_not_stop_a_retraining(trained_run: TrainedRunFactory) -> None:
    run = trained_run(training=FIT)
    run.revoke(run.ids(shard=0)[:3], strategy="dpus")
    (run.location / lineage_of(run.location, 1).table.path).unlink()
    run.settle()
    receipt = issued_receipts(run.location)[-1]
    residual = receipt.shards[0].residual
    assert receipt.exactness is Exactness.EXACT
    assert residual is not None
    assert residual.unseen is None
    assert residual.retained is not None


def test_an_emptied_shard_has_no_change(trained_run: TrainedRunFactory) -> None:
    run = trained_run()
    [part] = run.revoke(run.ids(shard=0), strategy="sisa").shards
    assert part.change is None


def test_the_status_the_receipt_and_the_page_show_the_residual(
    trained_run: TrainedRunFactory, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = trained_run(training=FIT)
    show_status(Screen(), status(run.store))
    assert "patches" not in capsys.readouterr().out, "a run without patches is spared the table"
    run.revoke(run.ids(shard=0)[:FEWEST_SAMPLES], strategy="dpus")
    run.settle()
    receipt = issued_receipts(run.location)[-1]
    residual = receipt.shards[0].residual
    assert residual is not None
    show_status(Screen(), status(run.store))
    shown = " ".join(capsys.readouterr().out.split())
    assert "how well patches forgot: 1 of 1 settled" in shown
    assert f"patched and retrained 1 {residual.retained:.4f} {residual.unseen:.4f}" in shown
    show_receipt(Screen(), receipt)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"settled by retraining exact {residual.unseen:.4f}" in shown
    write_report(open_run(run.location), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count(f"{residual.unseen:.4f}") == 2, "in the table of the patches, and in the receipt"
