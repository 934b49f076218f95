"""Is anything lost, whatever is killed, and whenever?

Method: a run of 4 shards x 3 slices is trained, asked to retrain once, to patch twice and to retrain what was patched, and
settled, on a real local cluster of two nodes with one shard actor each. On the way processes are killed (SIGKILL, by id):
the coordinator, a shard actor, the second node with all that is on it, or its raylet alone. The moments are file events of
the run (a checkpoint, a report, a generation appears; a superseded file goes), drawn by seed from those of an undisturbed
run, 3 for each step; the next comes while the last is recovered from. A lost call is made again, as its error says. After
each loss the journal must still hold what it had accepted, and `verify` may find nothing wrong. At the end, weights, files,
lineages and receipts are compared with those of the undisturbed run, and every shard is trained again from scratch. It goes
on until enough is killed: about a quarter of an hour for 100.
"""

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from documents import RESULTS

from raymu.core.verdict import Verdict
from tests.support.fault_injection import Account, Course, Ordeal, Strike, account, plan_strikes
from tests.support.processes import TwoNodes

SHARES = {"coordinator": 0.5, "shard": 0.36, "node": 0.07, "raylet": 0.07}
PER_STEP = 3


def summary(struck: Sequence[Strike], accounts: Sequence[Account], seconds: float) -> dict[str, Any]:
    by_victim: dict[str, Counter[str]] = {}
    for strike in struck:
        by_victim.setdefault(strike.victim, Counter())[strike.moment] += 1
    return {
        "kills": len(struck),
        "by_victim": {victim: moments.total() for victim, moments in sorted(by_victim.items())},
        "by_moment": dict(sorted(Counter(strike.moment for strike in struck).items())),
        "by_victim_and_moment": {victim: dict(sorted(moments.items())) for victim, moments in by_victim.items()},
        "runs": len(accounts),
        "requests_acknowledged": sum(one.acknowledged for one in accounts),
        "requests_lost": sum(one.lost for one in accounts),
        "requests_accepted_twice": sum(one.accepted_twice for one in accounts),
        "repairs_applied_twice": sum(one.repaired_twice for one in accounts),
        "runs_equal_to_the_undisturbed_one": sum(one.is_outcome_equal for one in accounts),
        "runs_that_verify_passes_after_replay": sum(one.verdict is Verdict.PASS for one in accounts),
        "seconds": round(seconds),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--smoke", action="store_true", help="a small run, to see that it works")
    options.add_argument("--kills", type=int, default=100, help="at least so many")
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    wanted = 3 if asked.smoke else asked.kills
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_health_check_period_ms"] = "500"  # noqa: SIM112
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    nodes = TwoNodes(num_cpus=1)
    struck: list[Strike] = []
    accounts: list[Account] = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        course = Course(folder)
        undisturbed = Ordeal(course, folder / "undisturbed")
        undisturbed.go_through()
        while len(struck) < wanted:
            seed = asked.seed + len(accounts)
            location = folder / f"run-{seed}"
            strikes = plan_strikes(undisturbed.seen, SHARES, per_step=PER_STEP, seed=seed)
            ordeal = Ordeal(course, location, strikes, nodes)
            ordeal.go_through()
            struck.extend(ordeal.struck)
            accounts.append(account(ordeal, location, folder / "undisturbed"))
            result = {"seed": asked.seed, **summary(struck, accounts, time.perf_counter() - started)}
            print(json.dumps(result), flush=True)
    nodes.close()
    ray.shutdown()
    if not asked.smoke:
        (RESULTS / "kills.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
