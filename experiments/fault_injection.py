"""Is anything lost, whatever process is killed and whenever?

Method: a run of 4 shards x 3 slices is trained, retrains once, patches twice, retrains what was patched, and settles, on a
real local cluster of two nodes with one shard actor each. Meanwhile processes are killed with SIGKILL: the coordinator, a
shard actor, the second node with everything on it, or its raylet alone. The moments are file events of the run (a
checkpoint, a report or a generation appears; a superseded file is deleted), drawn by seed from those of an undisturbed run,
three for each step. The next kill may come during the recovery from the last one. A call that is lost is made again, as its
error says. After each loss the journal must still hold what it had accepted, and `verify` may find nothing wrong. At the
end, weights, files, lineages and receipts are compared with those of the undisturbed run, and every shard is trained again
from scratch. Runs follow each other until enough processes are killed. It takes a quarter of an hour for 100 kills.

Conclusion: an acknowledged request is carried out once, whatever process is killed in between.
"""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.harness import Experiment, document_parser, write_document
from raymu.core.verdict import Verdict

# The tests on a real cluster inject the same faults, so the injection lies with them.
from tests.support.fault_injection import FaultRun, Outcome, PlannedKill, Scenario, compare_with_undisturbed, plan_kills
from tests.support.processes import TwoNodes

SHARES = {"coordinator": 0.5, "shard": 0.36, "node": 0.07, "raylet": 0.07}
PER_STEP = 3


def counts(kills: Sequence[PlannedKill], outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    by_victim: dict[str, Counter[str]] = {}
    for kill in kills:
        by_victim.setdefault(kill.victim, Counter())[kill.moment] += 1
    return {
        "kills": len(kills),
        "by_victim": {victim: moments.total() for victim, moments in sorted(by_victim.items())},
        "by_moment": dict(sorted(Counter(kill.moment for kill in kills).items())),
        "by_victim_and_moment": {victim: dict(sorted(moments.items())) for victim, moments in by_victim.items()},
        "runs": len(outcomes),
        "requests_acknowledged": sum(outcome.acknowledged for outcome in outcomes),
        "requests_lost": sum(outcome.lost for outcome in outcomes),
        "requests_accepted_twice": sum(outcome.accepted_twice for outcome in outcomes),
        "repairs_applied_twice": sum(outcome.repaired_twice for outcome in outcomes),
        "runs_equal_to_the_undisturbed_one": sum(outcome.is_outcome_equal for outcome in outcomes),
        "runs_that_verify_passes_after_replay": sum(outcome.verdict is Verdict.PASS for outcome in outcomes),
        "seconds": round(seconds),
    }


def summary(result: Mapping[str, Any]) -> str:
    victims = ", ".join(f"{killed} {victim}s" for victim, killed in result["by_victim"].items())
    return (
        f"{result['kills']} kills ({victims}): {result['requests_lost']} of {result['requests_acknowledged']} acknowledged "
        f"requests lost, {result['requests_accepted_twice'] + result['repairs_applied_twice']} carried out twice; "
        f"{result['runs_equal_to_the_undisturbed_one']} of {result['runs']} runs equal to the undisturbed one, "
        f"{result['runs_that_verify_passes_after_replay']} pass `verify --replay`"
    )


EXPERIMENT = Experiment(name="fault_injection", doc=__doc__, results=("fault_injection.json",), summary=summary)


def main() -> None:
    parser = document_parser(EXPERIMENT)
    parser.add_argument("--kills", type=int, default=100, help="at least this many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    required = 3 if arguments.smoke else arguments.kills
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_health_check_period_ms"] = "500"  # noqa: SIM112
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    nodes = TwoNodes(num_cpus=1)
    kills: list[PlannedKill] = []
    outcomes: list[Outcome] = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenario = Scenario(folder)
        undisturbed = FaultRun(scenario, folder / "undisturbed")
        undisturbed.execute()
        while len(kills) < required:
            seed = arguments.seed + len(outcomes)
            location = folder / f"run-{seed}"
            planned = plan_kills(undisturbed.seen, SHARES, per_step=PER_STEP, seed=seed)
            disturbed = FaultRun(scenario, location, planned, nodes)
            disturbed.execute()
            kills.extend(disturbed.executed)
            outcomes.append(compare_with_undisturbed(disturbed, location, folder / "undisturbed"))
            result = {"seed": arguments.seed, **counts(kills, outcomes, time.perf_counter() - started)}
            write_document(EXPERIMENT.results[0], result, is_smoke=arguments.smoke)
    nodes.close()
    ray.shutdown()


if __name__ == "__main__":
    main()
