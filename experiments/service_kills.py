"""Does a kill of the service lose a deletion that it acknowledged, or carry one out twice?

Method: `raymu serve` serves a small run of two shards. Clients delete one sample after another, each with an idempotency key
of its own, as fast as they are answered. At a random moment the service is killed with SIGKILL and started again. A client
that had no answer calls again with its key, until it has one. After twenty kills the service ends in an orderly way, and what
is left is settled. Then each key must belong to one request, the one that was acknowledged, each time; the run must have as
many requests as keys; each must be settled, with a receipt; and `verify` must pass. Then the next run begins.

Conclusion: an acknowledged deletion is carried out once, whenever the service is killed. Whoever repeats a call with the same
key gets the same request.
"""

import asyncio
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import raymu
from experiments.harness import Experiment, document_parser, write_document
from experiments.http_client import HttpClient
from raymu.cli import run_command
from raymu.config import Config
from raymu.core.verdict import Verdict
from raymu.web import server as _server  # imported before the service is forked, as all that it needs
from tests.support.examples import write_samples

CLIENTS = 4
KILLS_OF_A_RUN = 20
MOST_SAMPLES = 12_000
LATEST_S = 1.5
"""Seconds after its start within which the service is killed."""


@dataclass(kw_only=True, slots=True)
class Deletions:
    """What the clients of one run were answered."""

    answers: dict[str, set[str]] = field(default_factory=dict)
    """Key -> the requests that were named in an acknowledgement of it."""
    repeated: int = 0
    """Calls that were repeated, since their answer was lost."""
    problems: list[str] = field(default_factory=list)


class Service:
    """The service in a process of its own, which is forked so that nothing is imported anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid = 0
        self.port = 0

    async def start(self) -> None:
        log = self._folder / "service.txt"
        log.unlink(missing_ok=True)
        self._pid = os.fork()
        if not self._pid:
            code = 1
            try:
                with log.open("w") as stream:
                    os.dup2(stream.fileno(), 1)
                    os.dup2(stream.fileno(), 2)
                words = [
                    "serve",
                    str(self._folder / "run"),
                    "--port",
                    "0",
                    "--tokens",
                    str(self._folder / "tokens.json"),
                ]
                code, _ = run_command(words)
            finally:
                os._exit(code)
        while not (ports := re.findall(r"serving on http://127.0.0.1:(\d+)", log.read_text() if log.exists() else "")):
            await asyncio.sleep(0.02)
        self.port = int(ports[0])

    def kill(self) -> None:
        self.port = 0
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def end(self) -> int:
        """End the service in an orderly way, and return its exit code."""
        os.kill(self._pid, signal.SIGTERM)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


async def delete_samples(service: Service, ids: Sequence[int], deletions: Deletions, is_over: asyncio.Event) -> None:
    """Delete one sample after another until the time is over. Each call is repeated until it is answered."""
    client, port = None, 0
    for sample_id in ids:
        if is_over.is_set():
            return
        key, tries = f"case {sample_id}", 0
        while True:
            try:
                if client is None or port != service.port:
                    port = service.port
                    client = await HttpClient.connect(port)
                tries += 1
                answer = await client.post("/v1/requests", {"ids": [sample_id]}, key=key)
            except OSError:
                client = None
                await asyncio.sleep(0.02)
                continue
            if answer.status in (200, 202):
                break
            if answer.status != 503:
                deletions.problems.append(f"{key} was answered {answer.status}: {answer.document}")
            await asyncio.sleep(0.05)
        deletions.repeated += tries > 1
        named = [outcome["request_id"] for outcome in answer.document["runs"] if outcome["request_id"]]
        deletions.answers.setdefault(key, set()).update(named)


async def strike(folder: Path, ids: Sequence[int], kills: int, chance: random.Random) -> Deletions:
    """Kill the service of a run again and again, while clients delete samples."""
    service, deletions, is_over = Service(folder), Deletions(), asyncio.Event()
    await service.start()
    clients = [
        asyncio.create_task(delete_samples(service, ids[number::CLIENTS], deletions, is_over))
        for number in range(CLIENTS)
    ]
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0, LATEST_S))
        service.kill()
        await service.start()
    await asyncio.sleep(0.5)
    is_over.set()
    await asyncio.gather(*clients)
    client = await HttpClient.connect(service.port)
    for key in list(deletions.answers):  # a client that forgot that it was answered
        answer = await client.post("/v1/requests", {"ids": [int(key.split()[1])]}, key=key)
        deletions.answers[key].update(
            outcome["request_id"] for outcome in answer.document["runs"] if outcome["request_id"]
        )
    client.close()
    if code := service.end():
        deletions.problems.append(f"the service ended with {code}")
    return deletions


def check(location: Path, deletions: Deletions) -> None:
    """Settle the run, and note what is wrong with it."""
    with raymu.open_run(location) as run:
        run.settle()
        receipts = run.receipts()
        deletions.problems += [
            f"{key} has {len(requests)} requests" for key, requests in deletions.answers.items() if len(requests) != 1
        ]
        if len(receipts) != len(deletions.answers):
            deletions.problems.append(f"{len(deletions.answers)} keys, but {len(receipts)} requests")
        if open_receipts := [receipt for receipt in receipts if receipt.settled_at is None]:
            deletions.problems.append(f"{len(open_receipts)} requests are not settled")
        if len(run.signed_receipts([receipt.request_id for receipt in receipts])) != len(receipts):
            deletions.problems.append("a request has no receipt")
    with raymu.open_run(location) as run:
        if (verdict := run.verify().verdict) is not Verdict.PASS:
            deletions.problems.append(f"verify: {verdict}")


def summary(result: Mapping[str, Any]) -> str:
    return (
        f"{result['kills']:,} kills of the service, of {result['runs']} runs: of {result['acknowledged']:,} acknowledged "
        f"deletions {result['failures']} were lost, doubled or left undone; {result['repeated']:,} were repeated by their "
        "clients, and each key had one request and one receipt"
    )


EXPERIMENT = Experiment(name="service_kills", doc=__doc__, results=("service_kills.json",), summary=summary)


def main() -> None:
    parser = document_parser(EXPERIMENT)
    parser.add_argument("--kills", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    assert _server
    kills, chance = (3 if arguments.smoke else arguments.kills), random.Random(arguments.seed)
    each = min(kills, KILLS_OF_A_RUN)
    results: list[Deletions] = []
    started = time.time()
    with tempfile.TemporaryDirectory() as name:
        os.environ |= {"RAYMU_TRUST": "all", "RAYMU_ANCHORS": f"{name}/anchors"}
        for number in range(-(-kills // each)):
            folder = Path(name) / str(number)
            folder.mkdir()
            ids = write_samples(folder / "all.parquet", samples=MOST_SAMPLES)["id"].to_pylist()
            tree = {
                "data": {"train": str(folder / "all.parquet"), "classes": 3},
                "model": {"name": "logistic"},
                "training": {"epochs": 2},
                "partition": {"shards": 2, "slices": 2},
                "cluster": {"fleet": "local"},
            }
            raymu.train(Config.parse(tree), str(folder / "run")).close()
            deletions = asyncio.run(strike(folder, ids, each, chance))
            check(folder / "run", deletions)
            for problem in deletions.problems:
                print(f"run {number}: {problem}", file=sys.stderr)
            print(json.dumps({"run": number, "deletions": len(deletions.answers), "s": round(time.time() - started)}))
            results.append(deletions)
    result = {
        "kills": each * len(results),
        "runs": len(results),
        "acknowledged": sum(len(deletions.answers) for deletions in results),
        "repeated": sum(deletions.repeated for deletions in results),
        "failures": sum(len(deletions.problems) for deletions in results),
        "seed": arguments.seed,
    }
    write_document(EXPERIMENT.results[0], result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
