"""The table of remedies: the planner and every forecast need only its row of a remedy."""

from collections.abc import Iterator
from typing import cast

import pytest

from raymu.config import OhsConfig, UnlearningConfig
from raymu.config.unlearning import Boundary, OhsRemedy, Strategy
from raymu.core import remedies
from raymu.core.planner import choose_remedies, forecast
from raymu.core.planning.expected_cost import Layout, expected_cost
from raymu.core.records import Remedy
from raymu.core.remedies import REMEDIES, RemedyRule, RepairScope
from raymu.core.run_shape import RunShape
from raymu.core.workload import shard_workload
from tests.unit.core.examples import EPOCHS, SLICES, lineage

DISTILL = cast(Remedy, "distill")
SHAPE = RunShape(unlearning=UnlearningConfig(ohs=OhsConfig(remedy=OhsRemedy.REPLAY)), epochs=EPOCHS)
ALWAYS_PATCH = Boundary.parse(0.0)


def cost(scope: RepairScope) -> float:
    return 3.0 * scope.forgotten + 2.0


DISTILLATION = RemedyRule(
    is_exact=False,
    passes=cost,
    is_possible=lambda scope: scope.earliest_slice > 0,
    instead=Remedy.FINE_TUNE,
    obstacle="there is nothing to distill from",
    ohs=OhsRemedy.REPLAY,
)


@pytest.fixture
def distillation() -> Iterator[None]:
    """Replace replay in the table by a made-up remedy."""
    table = cast(dict[Remedy, RemedyRule], REMEDIES)
    rows = dict(table)
    table[DISTILL] = DISTILLATION
    del table[Remedy.REPLAY]
    yield
    table.clear()
    table.update(rows)


@pytest.mark.usefixtures("distillation")
def test_a_row_makes_the_planner_choose_a_new_remedy_and_forecast_its_cost() -> None:
    workloads = [shard_workload(lineage(shard), {shard: 2}, shape=SHAPE, references=(40,)) for shard in range(2)]
    ohs = SHAPE.unlearning.ohs
    chosen = choose_remedies(workloads, strategy=Strategy.OHS, boundary=ALWAYS_PATCH, workers=1, ohs=ohs)
    assert (chosen[1].remedy, chosen[1].passes) == (DISTILL, 8.0)
    assert chosen[0].remedy is Remedy.FINE_TUNE
    assert chosen[0].reason.endswith("is over the boundary 0; there is nothing to distill from")
    costs = forecast(workloads, boundary=ALWAYS_PATCH, workers=1, ohs=ohs)
    assert costs[Strategy.OHS].passes == 8.0 + workloads[0].passes[Remedy.FINE_TUNE]


@pytest.mark.usefixtures("distillation")
def test_a_row_makes_the_expected_cost_of_traffic_that_of_the_new_remedy() -> None:
    prior = (0.0, 0.5, 0.25, 0.25)  # never in the first slice, so that it is always possible
    layout = Layout(shards=3, slice_samples=(20.0,) * SLICES, slice_prior=prior, shape=SHAPE)
    work = expected_cost(layout, Strategy.OHS, ALWAYS_PATCH, requests=5)
    assert (work.remedies, work.patched) == pytest.approx((5.0, 5.0))
    assert work.passes == pytest.approx(5 * (3.0 + 2.0))


def test_the_table_names_every_remedy_and_answers_every_setting_of_ohs() -> None:
    assert set(remedies.REMEDIES) == set(Remedy)
    assert {rule.ohs for rule in REMEDIES.values()} - {None} == set(OhsRemedy)
    assert [remedy for remedy, rule in REMEDIES.items() if rule.is_exact] == [Remedy.RETRAIN]
