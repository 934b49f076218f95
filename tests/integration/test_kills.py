"""Coordinators, shard actors and a node are killed on the way; the run ends like one that was left alone."""

from pathlib import Path

import pytest

from raymu.core.verdict import Verdict
from tests.integration.kills import Account, Course, Ordeal, Strike, account
from tests.integration.victims import TwoNodes

pytestmark = pytest.mark.usefixtures("ray_cluster")

TRAIN, RETRAIN, PATCH, FINE_TUNE, _, SETTLE = range(6)

KILLS = (
    Strike(step=TRAIN, moment="train", nth=7, victim="coordinator"),
    Strike(step=RETRAIN, moment="rewind", nth=1, victim="coordinator"),
    Strike(step=RETRAIN, moment="retrain", nth=3, victim="shard"),
    Strike(step=PATCH, moment="patch", nth=2, victim="shard"),
    Strike(step=PATCH, moment="publish", nth=1, victim="coordinator"),
    Strike(step=FINE_TUNE, moment="purge", nth=3, victim="coordinator"),
    Strike(step=SETTLE, moment="report", nth=1, victim="coordinator"),
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In this process, which gives the same bytes, and sooner."""
    folder = tmp_path_factory.mktemp("undisturbed")
    Ordeal(Course(folder, cluster={"fleet": "local"}), folder / "run").go_through()
    return folder / "run"


def require_nothing_lost(found: Account) -> None:
    assert found == Account(
        acknowledged=4, lost=0, accepted_twice=0, repaired_twice=0, is_outcome_equal=True, verdict=Verdict.PASS
    )


def test_actors_that_are_killed_at_every_kind_of_moment(tmp_path: Path, undisturbed: Path) -> None:
    ordeal = Ordeal(Course(tmp_path), tmp_path / "run", KILLS)
    ordeal.go_through()
    assert tuple(ordeal.struck) == KILLS
    require_nothing_lost(account(ordeal, tmp_path / "run", undisturbed))


def test_a_node_that_is_killed_takes_half_of_the_actors_with_it(tmp_path: Path, undisturbed: Path) -> None:
    """The work goes on with what is left: no new node comes before it is done."""
    course = Course(tmp_path, cluster={"fleet": "ray", "live_actors": 2, "gpus_per_shard": 2})
    nodes = TwoNodes(num_cpus=2, num_gpus=2)
    kills = (Strike(step=RETRAIN, moment="retrain", nth=2, victim="node"),)
    try:
        ordeal = Ordeal(course, tmp_path / "run", kills, nodes)
        ordeal.go_through()
    finally:
        nodes.close()
    assert tuple(ordeal.struck) == kills
    require_nothing_lost(account(ordeal, tmp_path / "run", undisturbed))
