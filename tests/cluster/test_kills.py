"""Coordinators, shard actors and a node are killed; the run ends like an undisturbed one."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from raymu.core.verdict import Verdict
from tests.support.examples import repaired_weights, train_run
from tests.support.fault_injection import FaultRun, Outcome, PlannedKill, Scenario, compare_with_undisturbed
from tests.support.file_events import watched
from tests.support.processes import COORDINATOR, SHARD, TwoNodes, kill, own_processes

pytestmark = pytest.mark.nightly

TRAIN, RETRAIN, PATCH, FINE_TUNE, _, SETTLE = range(6)

KILLS = (
    PlannedKill(step=TRAIN, moment="train", nth=7, victim="coordinator"),
    PlannedKill(step=RETRAIN, moment="rewind", nth=1, victim="coordinator"),
    PlannedKill(step=RETRAIN, moment="retrain", nth=3, victim="shard"),
    PlannedKill(step=PATCH, moment="patch", nth=2, victim="shard"),
    PlannedKill(step=PATCH, moment="publish", nth=1, victim="coordinator"),
    PlannedKill(step=FINE_TUNE, moment="purge", nth=3, victim="coordinator"),
    PlannedKill(step=SETTLE, moment="report", nth=1, victim="coordinator"),
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same scenario in this process, which gives the same bytes faster."""
    folder = tmp_path_factory.mktemp("undisturbed")
    FaultRun(Scenario(folder, cluster={"fleet": "local"}), folder / "run").execute()
    return folder / "run"


def require_nothing_lost(outcome: Outcome) -> None:
    assert outcome == Outcome(
        acknowledged=4, lost=0, accepted_twice=0, repaired_twice=0, is_outcome_equal=True, verdict=Verdict.PASS
    )


@pytest.mark.usefixtures("ray_cluster")
def test_a_run_survives_killed_actors_at_every_kind_of_moment(tmp_path: Path, undisturbed: Path) -> None:
    fault_run = FaultRun(Scenario(tmp_path), tmp_path / "run", KILLS)
    fault_run.execute()
    assert tuple(fault_run.executed) == KILLS
    require_nothing_lost(compare_with_undisturbed(fault_run, tmp_path / "run", undisturbed))


@pytest.mark.usefixtures("ray_cluster")
def test_a_run_survives_the_loss_of_a_node(tmp_path: Path, undisturbed: Path) -> None:
    """The work continues on the other node. No new node starts before it is done."""
    scenario = Scenario(tmp_path, cluster={"fleet": "ray", "live_actors": 2, "gpus_per_shard": 2})
    nodes = TwoNodes(num_cpus=2, num_gpus=2)
    kills = (PlannedKill(step=RETRAIN, moment="retrain", nth=2, victim="node"),)
    try:
        fault_run = FaultRun(scenario, tmp_path / "run", kills, nodes)
        fault_run.execute()
    finally:
        nodes.close()
    assert tuple(fault_run.executed) == kills
    require_nothing_lost(compare_with_undisturbed(fault_run, tmp_path / "run", undisturbed))


def test_on_the_command_line_a_loss_is_one_line_and_the_next_command_resumes(tmp_path: Path) -> None:
    """The coordinator is killed during training, and a shard actor during settling. The user sees only the first loss."""
    config = Scenario(tmp_path, cluster={"fleet": "ray"}).config
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config.tree()))
    location = tmp_path / "runs" / "run"
    location.mkdir(parents=True)
    code, out, err = command("train", "run.yaml", victim=COORDINATOR, location=location)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"raymu: the coordinator was lost .* run `raymu settle`\n", err)
    code, out, err = command("settle", "runs/run", "--json", victim=SHARD, location=location)
    assert (code, err) == (0, "")
    assert json.loads(out)["generation"] == 1
    train_run(config, tmp_path / "calm")
    assert repaired_weights(location) == repaired_weights(tmp_path / "calm")


def command(*words: str, victim: str, location: Path) -> tuple[int, str, str]:
    """Run a command in its own process, and kill an actor that it started once a checkpoint appears.

    Returns:
        The exit code, standard output, and standard error without lines about a busy machine.
    """
    program = subprocess.Popen(
        [sys.executable, "-m", "raymu.cli", *words],
        cwd=location.parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    killed: list[int] = []

    def kill_once(event: str) -> None:
        if not killed and re.match(r"appears shards/.*stage-1", event):
            killed.extend(process.pid for process in own_processes(victim, under=program.pid)[:1])
            kill(killed)

    with watched(location, kill_once):
        out, err = program.communicate(timeout=120)
    assert killed
    return program.returncode, out, re.sub(r"raymu: waiting for room .*\n", "", err)
