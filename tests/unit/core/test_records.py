from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymu.core.commands import RepairOutcome
from raymu.core.events import ShardRepaired
from raymu.core.prediction_change import PredictionChange
from raymu.core.receipts import Receipts
from raymu.core.records import Exactness
from tests.unit.core.commands import repairs
from tests.unit.core.examples import (
    NOW,
    SLICES,
    accepted,
    checkpoint,
    lineage,
    report_of,
    request,
    table,
    trained_board,
)


def test_a_lineage_cannot_keep_a_tainted_checkpoint() -> None:
    with pytest.raises(ValueError, match="tainted"):
        replace(lineage(), tainted_from=2, debts=("r",))


def test_a_lineage_has_debts_exactly_if_it_is_tainted() -> None:
    with pytest.raises(ValueError, match="debts"):
        replace(lineage(), debts=("r",))


@given(first=st.integers(0, SLICES - 1), then=st.integers(0, SLICES - 1))
def test_a_patch_taints_later_checkpoints_and_retraining_from_there_settles_the_debt(first: int, then: int) -> None:
    before, counts = lineage(), (9, 9, 9, 9)
    small, patched = table(0, samples=36), checkpoint(0, SLICES - 1, version="patched")
    after = before.patched(first, ("r1",), table=small, slice_samples=counts, updates=before.updates, serving=patched)
    assert (after.exactness, after.debts, after.tainted_from) == (Exactness.APPROXIMATE, ("r1",), first)
    assert after.checkpoints == before.checkpoints[:first] + (None,) * (SLICES - first)
    start = min(first, then)
    fresh = tuple(checkpoint(0, stage, version="2") for stage in range(start, SLICES))
    settled = after.retrained(
        table=small, slice_samples=counts, checkpoints=fresh, updates=(None,) * len(fresh), seconds_per_pass=0.02
    )
    assert (settled.exactness, settled.debts, settled.serving) == (Exactness.EXACT, (), fresh[-1])
    assert settled.checkpoints == before.checkpoints[:start] + fresh
    assert settled.seconds_per_pass == 0.02


def test_a_receipt_repeats_every_fact_of_a_repair() -> None:
    board, receipts = trained_board(), Receipts()
    event = accepted(request("r1", {0: {1: 2}}))
    receipts.handle(event)
    [command] = repairs(board.handle(event))
    report = replace(report_of(command, {1: 2}, version="1"), reason="because", forget_loss=0.5, unseen_loss=0.6)
    report = replace(report, change=PredictionChange(unseen=0.1))
    receipts.handle(ShardRepaired(at=NOW, report=report))
    [part] = receipts.receipt("r1").shards
    for field in fields(RepairOutcome):
        assert getattr(part, field.name) == getattr(report, field.name)
