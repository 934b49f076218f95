"""How well patches forgot is read from the receipts."""

from dataclasses import replace

from raymu.config.unlearning import Strategy
from raymu.core.events import SettleRequested
from raymu.core.prediction_change import PredictionChange
from raymu.core.residuals import residuals_of
from tests.unit.core.examples import accepted, request
from tests.unit.core.metered_run import MeteredRun


def change(unseen: float, **means: float) -> PredictionChange:
    return PredictionChange(unseen=unseen, **means)


def patch(run: MeteredRun, *request_ids: str, unseen: float, slice_index: int = 3) -> None:
    """Patch shard 0 once for some requests that wait together."""
    touched = {slice_index: 1}
    run.handle(accepted(*(request(name, {0: touched}, strategy=Strategy.DPUS) for name in request_ids)))
    run.repair(0, {slice_index: len(request_ids)}, after_s=1.0, change=change(unseen, forgotten=0.9))


def settle(run: MeteredRun, *, unseen: float) -> None:
    run.handle(SettleRequested(at=run.now, shards=(0,)))
    run.repair(0, {}, after_s=1.0, change=change(unseen))


def test_a_patch_has_a_residual_once_it_is_settled() -> None:
    run = MeteredRun()
    patch(run, "r1", unseen=0.25)
    before = residuals_of(run.receipts.receipts())
    assert (before.patches, before.settled, before.residual.repairs) == (1, 0, 0)
    assert run.receipts.receipt("r1").shards[0].residual is None
    settle(run, unseen=0.5)
    after = residuals_of(run.receipts.receipts())
    assert (after.patches, after.settled, after.residual.repairs) == (1, 1, 1)
    assert (after.patched.change.unseen, after.residual.change.unseen) == (0.25, 0.5)
    [part] = run.receipts.receipt("r1").shards
    assert (part.change, part.residual) == (change(0.25, forgotten=0.9), change(0.5))


def test_a_repair_counts_once_for_all_its_requests() -> None:
    run = MeteredRun()
    patch(run, "r1", "r2", unseen=0.25)
    patch(run, "r3", unseen=0.75)
    settle(run, unseen=0.5)
    patch(run, "r4", unseen=0.5)
    settle(run, unseen=1.0)
    residuals = residuals_of(run.receipts.receipts())
    assert (residuals.patches, residuals.settled) == (3, 3)
    assert (residuals.patched.repairs, residuals.patched.change.unseen) == (3, 0.5)
    assert (residuals.residual.repairs, residuals.residual.change.unseen) == (2, 0.75)


def test_a_retraining_for_another_request_reveals_a_residual_and_is_no_untouched_state() -> None:
    run = MeteredRun()
    patch(run, "r1", unseen=0.25)
    run.handle(accepted(request("r2", {0: {1: 1}})))
    run.repair(0, {1: 1}, after_s=1.0, change=change(0.5, forgotten=0.125))
    residuals = residuals_of(run.receipts.receipts())
    assert (residuals.residual.repairs, residuals.untouched.repairs) == (1, 0)
    [part] = run.receipts.receipt("r1").shards
    assert part.residual == change(0.5), "what the other request forgot is not this one's"
    assert residuals.over_untouched is None
    run.handle(accepted(request("r3", {0: {1: 1}})))
    run.repair(0, {1: 1}, after_s=1.0, change=change(0.75))
    residuals = residuals_of(run.receipts.receipts())
    assert (residuals.untouched.repairs, residuals.untouched.change.unseen) == (1, 0.75)
    assert residuals.over_untouched == 0.5 / 0.75


def test_repairs_of_an_earlier_version_have_no_change() -> None:
    run = MeteredRun()
    patch(run, "r1", unseen=0.25)
    settle(run, unseen=0.5)
    receipt = run.receipts.receipt("r1")
    early = replace(receipt, shards=tuple(replace(part, change=None, residual=None) for part in receipt.shards))
    residuals = residuals_of([early])
    assert (residuals.patches, residuals.settled) == (1, 1)
    assert (residuals.residual.repairs, residuals.residual.change) == (0, PredictionChange())
