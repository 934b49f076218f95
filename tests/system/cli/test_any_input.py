"""No input whatever ends a command otherwise than in words: no traceback, no hang, and nothing changed by a refusal.

Settings, command lines, tables and run directories of any kind go through `run_command`. With --nightly there are twenty
times as many, and the counts of each kind are printed.
"""

import hashlib
import io
import json
import os
import shutil
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from raymu.cli import run_command
from raymu.cli.group import SECTIONS, cli
from raymu.config import Config
from raymu.errors import ConfigInvalid
from tests.support.strange_input import (
    WRITERS,
    command_lines,
    damages,
    settings_trees,
    tables,
    write_parquet,
    write_strange_files,
)

LONGEST_S = 20
TAKEOVER = {"run/epoch", "run/journal.sqlite", "run/journal.seal"}
"""Files that a coordinator writes when it takes a run over."""
HEAVY = {"audit", "tune", "demo", "job", "start", "stop"}
"""Commands that train for long or look for a cluster: their command lines are read, and not carried out."""
SETTINGS: dict[str, Any] = {
    "data": {"train": "base.parquet", "features": ["f0", "f1"], "owner": "owner", "normalize": "shard"},
    "model": {"name": "mlp", "hidden": [4]},
    "training": {
        "epochs": 3,
        "batch_size": 16,
        "optimizer": "adam",
        "learning_rate": 0.05,
        "schedule": {"name": "linear"},
    },
    "partition": {"shards": 2, "slices": 2, "seed": 1},
    "unlearning": {"strategy": "sisa", "boundary": 0.35, "ohs": {"slices": 1}, "curvature": {"samples": 10}},
    "cluster": {"fleet": "local", "threads": 1, "cpus_per_shard": 1},
}
SOUND: Mapping[str, str] = {
    "run_dir": "run",
    "config_file": "base.yaml",
    "source": "table.csv",
    "data_file": "base.parquet",
    "test_data": "base.parquet",
    "out_file": "out.parquet",
    "traffic": "uniform:3",
    "ids": "17",
}
"""Parameters -> values that are right."""


READINGS = (["status"], ["receipts"], ["verify"], ["plan", "--id", "17"], ["evaluate", "--test-data", "base.parquet"],
            ["predict", "--data", "base.parquet", "--out", "out.csv"], ["report", "--out", "out.html"], ["settle"],
            ["revoke", "--id", "17"], ["rebuild"], ["verify", "--replay"])  # fmt: skip


class Workshop:
    """A folder with a trained run and strange files, which is as it was before each example."""

    def __init__(self, pristine: Path, folder: Path) -> None:
        self.folder, self._pristine = folder, pristine
        self.ends: Counter[str] = Counter()
        self.reset()
        self._before = digest(folder)

    def reset(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        copy(self._pristine, self.folder)
        os.chdir(self.folder)

    def run(self, kind: str, *words: str, is_damaged: bool = False) -> tuple[int, str]:
        """Run a command. Fails the test if it ends otherwise than it may.

        Args:
            kind: What is counted.
            words: The command line.
            is_damaged: Whether the run is. A coordinator that takes it over before it finds that out leaves a new term.
        """
        before, events = digest(self.folder), events_of(self.folder / "run")
        out, err = io.StringIO(), io.StringIO()
        with limited(LONGEST_S, words), redirect_stdout(out), redirect_stderr(err):
            code, line = run_command(words)
        self.ends[f"{kind}, exit code {code}"] += 1
        shown = [word[:80] for word in words]
        assert code in (0, 1, 2, 3, 4), (shown, code, line)
        assert "Traceback" not in err.getvalue(), shown
        assert "\n" not in line, (shown, line)
        assert len(line) < 1500, (shown, line)
        if code in (2, 4):
            assert line, shown
        after = digest(self.folder)
        if code == 2 and is_damaged:
            assert events_of(self.folder / "run") == events, (shown, line)
            changed = {name for name, _ in set(after.items()) ^ set(before.items())}
            assert changed <= TAKEOVER, (shown, line, changed)
        elif code == 2:
            assert after == before, (shown, line, sorted(set(after.items()) ^ set(before.items())))
        if after != self._before:
            self.reset()
        return code, line


def events_of(run: Path) -> list[str] | None:
    """Return the events of a journal; None if it cannot be read."""
    journal = run / "journal.sqlite"
    if journal.is_symlink() or not journal.is_file() or not os.access(journal, os.R_OK):
        return None
    try:
        with closing(sqlite3.connect(f"file:{journal}?immutable=1", uri=True)) as database:
            return [str(row) for row in database.execute("SELECT * FROM events ORDER BY sequence")]
    except sqlite3.Error:
        return None


@contextmanager
def limited(seconds: int, words: object) -> Iterator[None]:
    """Fail after some seconds."""

    def late(*_: object) -> None:
        raise AssertionError(f"{words} takes longer than {seconds} s")

    earlier = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)


def copy(source: Path, target: Path) -> None:
    """Copy a folder with its links and pipes."""
    target.mkdir()
    for path in source.iterdir():
        if path.is_symlink():
            (target / path.name).symlink_to(os.readlink(path))
        elif path.is_fifo():
            os.mkfifo(target / path.name)
        elif path.is_dir():
            copy(path, target / path.name)
        else:
            shutil.copy2(path, target / path.name)


def digest(folder: Path) -> dict[str, str]:
    """Return a hash of each file below a folder, and the kind of what is no file. Times do not count."""
    kinds = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            kinds[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            kinds[name] = hashlib.sha256(path.read_bytes()).hexdigest() if os.access(path, os.R_OK) else "forbidden"
        else:
            kinds[name] = "folder" if path.is_dir() else "pipe"
    return kinds


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Workshop]:
    pristine = tmp_path_factory.mktemp("strange") / "pristine"
    pristine.mkdir()
    home, anchors = Path.cwd(), os.environ["RAYMU_ANCHORS"]
    os.environ["RAYMU_ANCHORS"] = "off"  # a run that is put back is no rollback here
    rows = range(60)
    table = pa.table(
        {
            "id": list(rows),
            "f0": [float(row % 7) for row in rows],
            "f1": [float(row % 5) for row in rows],
            "label": [row % 2 for row in rows],
            "owner": [f"o{row % 9}" for row in rows],
        }
    )
    write_parquet(table, pristine / "base.parquet")
    (pristine / "base.yaml").write_text(yaml.safe_dump(SETTINGS))
    os.chdir(pristine)
    quiet = io.StringIO()
    with redirect_stdout(quiet), redirect_stderr(quiet):
        assert run_command(["train", "base.yaml", "run"]) == (0, "")
        assert run_command(["revoke", "run", "--id", "3", "--strategy", "dpus"]) == (0, "")
    write_strange_files(pristine)
    made = Workshop(pristine, pristine.with_name("folder"))
    yield made
    os.chdir(home)
    os.environ["RAYMU_ANCHORS"] = anchors
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    if request.config.getoption("--nightly") and reporter is not None:
        for kind, count in sorted(made.ends.items()):
            reporter.write_line(f"{count:7,} {kind}")


@pytest.fixture(scope="module")
def factor(request: pytest.FixtureRequest) -> int:
    return 20 if request.config.getoption("--nightly") else 1


def repeated(count: int) -> settings:
    """Return Hypothesis's settings of a deterministic test."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
    )


@pytest.mark.parametrize(
    "words",
    [
        *([name[0], "run", *name[1:]] for name in READINGS[:8]),
        ["import", "table.csv", "--out", "out.parquet"],
        ["train", "base.yaml", "other"],
        ["simulate", "base.yaml", "--traffic", "uniform:3"],
        ["revoke", "run", "--id", "17"],
        ["revoke", "run", "--id", "3"],
        ["start", "run"],
    ],
    ids=" ".join,
)
def test_a_document_names_its_schema_whatever_the_exit_code(
    workshop: Workshop, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = run_command([*words, "--json"])
    workshop.reset()
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == 1
    assert document["schema"] == (f"raymu.{words[0]}" if code in (0, 3) else "raymu.error"), (code, line)
    if code == 2:
        assert (document["exit_code"], document["error"]) == (2, line.removeprefix("raymu: "))


def refusal(tree: dict[str, Any]) -> str:
    """Return why settings are refused; nothing if they are taken."""
    try:
        Config.parse(tree)
    except ConfigInvalid as error:
        return str(error)
    return ""


def test_any_settings_are_settings_or_one_line(workshop: Workshop, factor: int) -> None:
    @repeated(400 * factor)
    @given(tree=settings_trees(SETTINGS))
    def check(tree: dict[str, Any]) -> None:
        with limited(LONGEST_S, "settings"):
            line = refusal(tree)
        assert "\n" not in line
        assert len(line) < 1500
        workshop.ends[f"settings, {'refused' if line else 'taken'}"] += 1

    check()


def test_any_file_of_settings_trains_or_is_refused(workshop: Workshop, factor: int) -> None:
    @repeated(40 * factor)
    @given(tree=settings_trees(SETTINGS), cut=st.integers(0, 40), at=st.integers(0, 600))
    def check(tree: dict[str, Any], cut: int, at: int) -> None:
        text = yaml.dump(tree, allow_unicode=True)
        if cut == 0:
            text = text[:at]
        Path("other.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        with suppress(ConfigInvalid):  # what would train for long
            config = Config.load("other.yaml")
            if config.training.epochs > 20 or config.cluster.fleet == "ray" or config.unlearning.curvature.steps > 20:
                return
        workshop.run("files of settings", "train", "other.yaml", "other")

    check()


@pytest.mark.parametrize("name", [command.name for commands in SECTIONS.values() for command in commands])
def test_any_command_line_is_carried_out_or_refused(workshop: Workshop, factor: int, name: str) -> None:
    if name == "demo":
        pytest.skip("it needs Ray, and has one option")
    with click.Context(cli, info_name="raymu") as context:
        command: click.Command | None = cli
        for word in name.split():
            assert isinstance(command, click.Group)
            command = command.get_command(context, word)
    assert command is not None
    group = name.split()

    @repeated(20 * factor)
    @given(words=command_lines(command, SOUND))
    def check(words: list[str]) -> None:
        if name in HEAVY:
            with limited(LONGEST_S, words), suppress(click.UsageError), click.Context(cli, info_name="raymu") as parent:
                command.make_context(name, list(words), parent=parent)
            workshop.ends["command lines, read only"] += 1
        else:
            workshop.run("command lines", *group, *words)

    check()


USES: Mapping[str, list[str]] = {
    "train": ["train", "base.yaml", "other", "data.train={}"],
    "test": ["train", "base.yaml", "other", "data.test={}"],
    "exclude": ["train", "base.yaml", "other", "--exclude-file", "{}"],
    "ids": ["revoke", "run", "--ids-file", "{}"],
    "requests": ["revoke", "run", "--requests-file", "{}"],
    "plan": ["plan", "run", "--ids-file", "{}"],
    "predict": ["predict", "run", "--data", "{}", "--out", "out.csv"],
    "evaluate": ["evaluate", "run", "--test-data", "{}"],
    "rebuild": ["rebuild", "run", "--training-data", "{}"],
    "import": ["import", "{}", "--out", "out.parquet"],
}
"""What a table is used for -> the command."""


def test_any_table_is_used_or_refused(workshop: Workshop, factor: int) -> None:
    @repeated(180 * factor)
    @given(table=tables(), ending=st.sampled_from(sorted(WRITERS)), use=st.sampled_from(sorted(USES)))
    def check(table: pa.Table, ending: str, use: str) -> None:
        path = Path(f"strange{ending}")
        try:
            WRITERS[ending](table, path)
        except (pa.ArrowException, ValueError, NotImplementedError, OverflowError):
            return  # the format has no such type
        workshop.run(f"tables, {use}", *(word.format(path) for word in USES[use]))

    check()


def test_any_run_directory_is_read_or_refused(workshop: Workshop, factor: int) -> None:
    @repeated(110 * factor)
    @given(data=st.data(), words=st.sampled_from(READINGS), count=st.integers(1, 2), as_json=st.booleans())
    def check(data: st.DataObject, words: list[str], count: int, as_json: bool) -> None:
        try:
            for _ in range(count):
                data.draw(damages(Path("run")))
            words = [words[0], "run", *words[1:], *(["--json"] if as_json else [])]
            workshop.run(f"run directories, {words[0]}", *words, is_damaged=True)
        finally:
            workshop.reset()

    check()
