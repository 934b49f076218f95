"""A run on a Ray of its own that exports metrics: trained, revoked from, idle, settled and left.

`python -m tests.support.metrics_process FOLDER PORT` writes into FOLDER what Prometheus would get to see at each step.
"""

import math
import re
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import ray

import raymu
from raymu.errors import RaymuError
from tests.support.examples import make_config, write_samples
from tests.support.ray_internals import local_node

PATIENCE_S = 40.0
KEY = "ticket-of-mrs-miller"


def main(folder: Path, port: int) -> None:
    table = write_samples(folder / "all.parquet", text_ids=True)
    ids, owners = table["id"].to_pylist(), table["owner"].to_pylist()
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _metrics_export_port=port,
        _system_config={"metrics_report_interval_ms": 1000},
    )
    node = local_node()
    (folder / "logs").write_text(node.get_logs_dir_path())
    config = make_config(
        folder / "all.parquet",
        data={"owner": "owner"},
        partition={"shards": 3, "slices": 3, "seed": 3},
        cluster={"fleet": "ray", "live_actors": 1},
    )
    with raymu.train(config, folder / "run") as run:
        run.revoke(ids[:4], strategy="sisa", key=KEY)
        run.revoke(owner=owners[50], strategy="dpus", key=f"{KEY}-2")
        with suppress(RaymuError):
            run.revoke(["sample-of-nobody"])
        scrape_until(folder / "patched", port, lambda text: has(text, 'raymu_requests{.*state="purged"} 1.0'))
        time.sleep(5.0)  # Ray drops a gauge without updates after two intervals
        before = slack_s((folder / "patched").read_text())
        scrape_until(folder / "idle", port, lambda text: slack_s(text) < before - 4.0)
        run.settle()
        scrape_until(folder / "settled", port, is_settled)
    ray.shutdown()


def is_settled(text: str) -> bool:
    """Whether the gauges are up to date: Ray drops a gauge without updates after two intervals."""
    return has(text, "raymu_debt_passes{.*} 0.0") and not has(text, "raymu_deadline_slack_seconds{")


def slack_s(text: str) -> float:
    """Return the time to the next deadline, or infinity if it is not exported."""
    slack = re.search(r"raymu_deadline_slack_seconds{.*} (\S+)", text)
    return float(slack[1]) if slack else math.inf


def has(text: str, line: str) -> bool:
    """Whether a part of a line matches a regular expression."""
    return re.search(line, text) is not None


def scrape_until(out: Path, port: int, is_there: Callable[[str], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    text = ""
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
            if is_there(text):
                break
        time.sleep(0.5)
    out.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
