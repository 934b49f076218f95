"""Is anything lost, or left to be read, when a command is killed?

Method: every command that works without a cluster is run on a small run of four shards, and killed with SIGKILL at a moment
that is drawn evenly from its undisturbed duration. Some runs come fresh from training, some have a patched shard, some lack a
checkpoint. After each kill, `verify` may not find anything wrong; the run is then finished with the command that it was
begun with, or with `settle`, and `verify` must pass, every third time with `--replay`. Every request that was accepted must
be settled then, no id of a revoked sample may lie in any file of the run, and `predict` must answer. A command that only
reads must leave every byte of the run as it was. Kills of processes of a Ray cluster are the subject of `fault_injection`.

Conclusion: a killed command leaves a run that the next command finishes, whenever the kill comes.
"""

import contextlib
import io
import json
import os
import pkgutil
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

import raymu
from experiments.harness import Experiment, document_parser, write_document
from raymu.cli import run_command

# The tests read the same small table, so it lies with them.
from tests.support.examples import write_samples

SAMPLES = 160
REVOKED = [f"sample-{number}" for number in (3, 7, 11, 19)]
"""Ids that every request names, together with an owner's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A command to kill."""

    words: str
    """The command line. RUN is the run's folder; other names are files beside it."""
    template: str
    """What the command works on: nothing, trained, patched or damaged."""
    finish: str = ""
    """What finishes the run after a kill. Without it, the command only reads the run."""
    is_request: bool = False
    """True for a command that revokes."""


def _revoking(options: str, *, template: str = "trained") -> Case:
    return Case(words=f"revoke RUN {options}", template=template, finish="settle RUN", is_request=True)


CASES: Mapping[str, Case] = {
    "train": Case(words="train config.yaml RUN", template="nothing", finish="settle RUN"),
    "revoke by sisa": _revoking("--ids-file ids.txt --strategy sisa"),
    "revoke by dpus": _revoking("--ids-file ids.txt --strategy dpus"),
    "revoke by ohs": _revoking("--ids-file ids.txt --strategy ohs --boundary 0"),
    "revoke by hs": _revoking("--ids-file ids.txt --strategy hs --boundary 0.5", template="patched"),
    "revoke a table": _revoking("--requests requests.csv"),
    "settle": Case(words="settle RUN", template="patched", finish="settle RUN"),
    "rebuild": Case(
        words="rebuild RUN --training-data all.parquet",
        template="damaged",
        finish="rebuild RUN --training-data all.parquet",
    ),
    "verify": Case(words="verify RUN --replay", template="patched"),
    "audit": Case(words="audit RUN --training-data all.parquet --test-data all.parquet --json", template="patched"),
    "predict": Case(words="predict RUN --data all.parquet --out predictions.parquet", template="trained"),
    "evaluate": Case(words="evaluate RUN --test-data all.parquet", template="trained"),
    "report": Case(words="report RUN --out report.html", template="patched"),
    "plan": Case(words="plan RUN --ids-file ids.txt", template="trained"),
    "status": Case(words="status RUN", template="patched"),
    "receipts": Case(words="receipts RUN", template="patched"),
    "import": Case(words="import letters.csv --out imported.parquet", template="trained"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """A command in a process of its own."""

    code: int | None
    """Exit code. None: killed."""
    out: str
    seconds: float


class Workplace:
    """A folder with a data set, and templates of runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.templates = folder / "templates"
        self._place = folder / "place"

    def prepare(self) -> None:
        """Write the data, and train the templates."""
        self._place.mkdir()
        _in_child(lambda: _write_inputs(self._place))
        for name, lines in (
            ("trained", ["train config.yaml RUN"]),
            ("patched", ["revoke RUN --ids-file earlier.txt --strategy dpus"]),
        ):
            for line in lines:
                ended = self.run(line)
                assert ended.code == 0, f"{line}: {ended.out}"
            shutil.copytree(self._place, self.templates / name)
        shutil.rmtree(self._place / "RUN")
        shutil.copytree(self._place, self.templates / "nothing")
        shutil.copytree(self.templates / "trained", self.templates / "damaged")
        for checkpoint in sorted((self.templates / "damaged" / "RUN" / "shards" / "0001").glob("*.safetensors"))[:1]:
            checkpoint.unlink()

    def fresh(self, template: str) -> None:
        """Begin again with a copy of a template. Its anchor is forgotten too: the copy is no run that was put back."""
        shutil.rmtree(self._place, ignore_errors=True)
        shutil.rmtree(os.environ["RAYMU_ANCHORS"], ignore_errors=True)
        shutil.copytree(self.templates / template, self._place)

    @property
    def run_folder(self) -> Path:
        return self._place / "RUN"

    def run(self, line: str, *, kill_after_s: float | None = None) -> Ended:
        """Run a command in a process of its own, and perhaps kill it."""
        started = time.perf_counter()
        out = self.folder / "out.txt"
        child = os.fork()
        if child == 0:
            _become(line, self._place, out)
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        code = None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return Ended(code=code, out=out.read_text(errors="replace"), seconds=time.perf_counter() - started)

    def leaks(self, words: Sequence[str]) -> list[str]:
        """Return the files of the run that have one of these words in their bytes, or in a cell of a table."""
        return [
            str(path.relative_to(self.run_folder))
            for path in sorted(self.run_folder.rglob("*"))
            if path.is_file() and any(word.encode() in content for word in words for content in _contents(path))
        ]

    def bytes_of_run(self) -> dict[str, bytes]:
        """Return the content of each file of the run."""
        return {str(path): path.read_bytes() for path in self.run_folder.rglob("*") if path.is_file()}


def _become(line: str, place: Path, out: Path) -> None:
    """Run a command in this process, and end it."""
    os.chdir(place)
    with out.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(number, "w"), write_through=True) for number in (1, 2))
        code, error = run_command(line.split())
        print(error, file=sys.stderr)
        os._exit(code)


def _in_child(work: Any) -> None:
    """Do work in a process of its own, so that this one has no threads when it forks."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def _write_inputs(place: Path) -> None:
    table = write_samples(place / "all.parquet", samples=SAMPLES, text_ids=True, owners=20)
    settings = {
        "data": {"train": "all.parquet", "test": "all.parquet", "owner": "owner", "classes": 3},
        "model": {"name": "logistic"},
        "training": {"epochs": 2, "batch_size": 16},
        "partition": {"shards": 4, "slices": 2, "seed": 3},
        "cluster": {"fleet": "local"},
    }
    (place / "config.yaml").write_text(yaml.safe_dump(settings))
    (place / "ids.txt").write_text("\n".join(REVOKED))
    (place / "earlier.txt").write_text("sample-41\n")
    (place / "requests.csv").write_text("id,key\n" + "".join(f"{sample_id},k-{sample_id}\n" for sample_id in REVOKED))
    labels, features = table["label"].to_pylist(), table["features"].to_pylist()
    lines = [",".join(map(str, [label, *values])) for label, values in zip(labels, features, strict=True)]
    (place / "letters.csv").write_text("\n".join(["label,a,b,c,d,e,f", *lines]))


def _contents(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    yield content
    with contextlib.suppress(pa.ArrowException):
        if path.suffix == ".parquet":
            yield json.dumps(pq.read_table(pa.BufferReader(content)).to_pydict(), default=str).encode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a kill led to."""

    case: str
    was_killed: bool
    """False if the command ended before the kill."""
    problems: tuple[str, ...]
    accepted: int = 0
    """Requests that were accepted before the kill."""


def strike(workplace: Workplace, name: str, at_s: float, *, is_thorough: bool) -> Outcome:
    """Kill a command, finish the run, and check it.

    Args:
        workplace: The folder to work in.
        name: A key of `CASES`.
        at_s: When to kill, in seconds from the command's beginning.
        is_thorough: True replays every shard at the end.
    """
    case = CASES[name]
    workplace.fresh(case.template)
    before = {} if case.finish else workplace.bytes_of_run()
    was_killed = workplace.run(case.words, kill_after_s=at_s).code is None
    problems: list[str] = []

    def expect(line: str, codes: Sequence[int]) -> Ended:
        ended = workplace.run(line)
        if ended.code not in codes:
            problems.append(f"`{line}` exits {ended.code}: {ended.out.strip()[-400:]}")
        return ended

    if not case.finish:
        if workplace.bytes_of_run() != before:
            problems.append("the run has changed")
        expect("verify RUN", (3,) if case.template == "patched" else (0,))
        return Outcome(case=name, was_killed=was_killed, problems=tuple(problems))
    if name == "train" and not (workplace.run_folder / "run.json").exists():
        expect(case.words, (0,))
    elif name != "rebuild":  # whose run is damaged before it begins
        expect("verify RUN", (0, 3))
    expect(case.finish, (0,))
    accepted = _requests(expect("receipts RUN --json", (0,)).out)
    mine = [request for request in accepted if request["strategy"] != "dpus" or case.template == "trained"]
    problems += ["a request is not settled" for request in accepted if request["settled_at"] is None]
    if case.is_request and mine and (files := workplace.leaks([f'"{word}"' for word in REVOKED])):
        problems.append(f"a revoked id lies in {files}")
    if case.is_request and not mine:
        expect(case.words, (0,))
        expect("settle RUN", (0,))
    expect("verify RUN --replay" if is_thorough else "verify RUN", (0,))
    expect("predict RUN --data all.parquet --out predictions.parquet", (0,))
    return Outcome(case=name, was_killed=was_killed, problems=tuple(problems), accepted=len(mine))


def _requests(text: str) -> list[dict[str, Any]]:
    with contextlib.suppress(ValueError):
        document = json.loads(text)
        receipts: list[dict[str, Any]] = document["receipts"] if isinstance(document, dict) else document
        return receipts
    return []


def summary(result: Mapping[str, Any]) -> str:
    return (
        f"{result['kills']:,} kills of {len(result['by_command'])} commands: {result['failures']} left a run that is wrong, "
        f"that no command finishes, or that tells an id; {result['accepted']:,} requests were accepted before the kill, and "
        "all were carried out"
    )


EXPERIMENT = Experiment(name="command_kills", doc=__doc__, results=("command_kills.json",), summary=summary)


def main() -> None:
    parser = document_parser(EXPERIMENT)
    parser.add_argument("--kills", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="COMMAND", help="kill this command only, and keep no result")
    arguments = parser.parse_args()
    for module in pkgutil.walk_packages(raymu.__path__, "raymu."):  # so that each child need not
        if not module.name.startswith("raymu.runtime") and module.name != "raymu.cli.__main__":
            import_module(module.name)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)  # the first one loads the compiler
    required = 2 * len(CASES) if arguments.smoke else arguments.kills
    chance = random.Random(arguments.seed)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as name:
        os.environ |= {"RAYMU_TRUST": "all", "RAYMU_ANCHORS": f"{name}/anchors", "COLUMNS": "100"}
        workplace = Workplace(Path(name))
        workplace.prepare()
        names = [arguments.only] if arguments.only else list(CASES)
        durations = {name: _duration(workplace, name) for name in names}
        while sum(outcome.was_killed for outcome in outcomes) < required:
            case = names[len(outcomes) % len(names)]
            at_s = chance.uniform(0, durations[case])
            outcome = strike(workplace, case, at_s, is_thorough=len(outcomes) % 3 == 0)
            outcomes.append(outcome)
            for problem in outcome.problems:
                print(f"{case} killed after {at_s:.3f} s: {problem}", file=sys.stderr)
    killed = [outcome for outcome in outcomes if outcome.was_killed]
    result = {
        "kills": len(killed),
        "by_command": dict(sorted(Counter(outcome.case for outcome in killed).items())),
        "accepted": sum(outcome.accepted for outcome in killed),
        "failures": sum(bool(outcome.problems) for outcome in outcomes),
        "seed": arguments.seed,
    }
    if not arguments.only:
        write_document(EXPERIMENT.results[0], result, is_smoke=arguments.smoke)


def _duration(workplace: Workplace, name: str) -> float:
    """Return how long a command takes when nothing disturbs it, in seconds."""
    workplace.fresh(CASES[name].template)
    ended = workplace.run(CASES[name].words)
    assert ended.code in (0, 1, 3), f"{name}: {ended.out}"  # the verdicts of an audit, and of `verify`
    return ended.seconds


if __name__ == "__main__":
    main()
