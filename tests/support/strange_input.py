"""Strategies of Hypothesis for input that is strange in every way that people, programs and attackers have thought of."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from hypothesis import strategies as st

DEEP = "[" * 10_000 + "]" * 10_000
LONG = "9" * 5000

TEXTS = st.sampled_from(
    [
        "",
        " ",
        "0",
        "1",
        "-1",
        "3",
        "1.5",
        " 7 ",
        "1_0",
        "0x10",
        "\u00b2",
        "\u0663",
        "9" * 30,
        LONG,
        "1e9",
        "1e29",
        "1e400",
        "nan",
        "inf",
        "-inf",
        "true",
        "null",
        "~",
        "\0",
        "\x1b[2J",
        "\u202e",
        "\udcff",
        "\n",
        "=",
        "--",
        "-",
        "a" * 3000,
        "{}",
        "[]",
        "[1",
        "{a: 1}",
        "!!int ''",
        "&a [*a]",
        DEEP,
        "2030-01-31",
        "9999-12-31T23:59-12:00",
        "0001-01-01",
        "infinity",
        "2030-02-30",
        "7d",
        "99999d",
        "\u00b2d",
        "d",
        "0.35",
        "2",
        "30s",
        "1e400s",
        "deadline:60s",
        "deadline:",
        "uniform:3",
        "uniform:\u00b2",
        "uniform:-1",
        "burst:3,size=2",
        "burst:9,size=1e9",
        "1:abc",
        "\u00b2:abc",
        "sisa",
        "dpus",
        "hs",
        "ohs",
        "17",
        "18",
        "nobody",
        "o1",
        "features",
        "id",
        "label",
        "owner",
        "f0",
    ]
)
"""Values of options, of settings and of cells."""

PATHS = st.sampled_from(
    [
        "base.parquet",
        "base.yaml",
        "run",
        "run/run.json",
        "run/journal.sqlite",
        "pipe",
        "folder",
        "empty",
        "absent",
        "absent/file",
        "table.csv",
        "table.arrow",
        "table.txt",
        "out.csv",
        "out.parquet",
        "out.html",
        "out.png",
        "out.json",
        "out.xls",
        "out",
        ".",
        "..",
        "/",
        "/dev/null",
        "/dev/full",
        "/dev/zero",
        "/proc/self/mem",
        "loop",
        "dangling",
        "",
        "\0",
        "\udcff",
        "a" * 300,
        "file:///nowhere",
        "nowhere://x",
        "audit.json",
        "ids.txt",
        "latin.csv",
        "deep.json",
        "deep.yaml",
    ]
)
"""Values of options that name files. None is outside the folder of a test and can be written."""


def write_strange_files(folder: Path) -> None:
    """Write the files that `PATHS` names, beside those of a run."""
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    (folder / "empty").write_bytes(b"")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "audit.json").write_text('{"verdict": "pass"}')
    (folder / "ids.txt").write_text("17\n18\n")
    (folder / "latin.csv").write_bytes("id,owner\n17,Z\u00fcrich\n".encode("latin-1"))
    (folder / "deep.json").write_text(DEEP)
    (folder / "deep.yaml").write_text("data: " + DEEP)
    table = pa.table({"id": [17, 18], "f0": [0.5, 1.5], "label": [0, 1]})
    pa.csv.write_csv(table, folder / "table.csv")
    with pa.ipc.new_file(folder / "table.arrow", table.schema) as sink:
        sink.write_table(table)
    (folder / "table.txt").write_text("17 0.5 0\n18 1.5 1\n")


def option_values(parameter: click.Parameter) -> st.SearchStrategy[list[str]]:
    """Return the words of one option or argument: left out, once or twice, and with a value of any kind."""
    is_path = parameter.type.name in ("file", "dir", "path")
    values = st.one_of(PATHS, PATHS, TEXTS) if is_path else st.one_of(TEXTS, TEXTS, PATHS)
    if isinstance(parameter.type, click.Choice):
        values = st.one_of(st.sampled_from([str(choice) for choice in parameter.type.choices]), values)
    if isinstance(parameter, click.Argument):
        return values.map(lambda value: [value])
    names = st.sampled_from([*parameter.opts, *parameter.secondary_opts])
    if getattr(parameter, "is_flag", False):
        return names.map(lambda name: [name])
    return st.one_of(
        st.tuples(names, values).map(list),
        st.tuples(names, values).map(lambda pair: [f"{pair[0]}={pair[1]}"]),
        names.map(lambda name: [name]),
    )


@st.composite
def command_lines(draw: st.DrawFn, command: click.Command, sound: Mapping[str, str]) -> list[str]:
    """Draw the arguments of a command.

    Args:
        draw: What Hypothesis draws with.
        command: The command.
        sound: Arguments and required options -> a value that is right, which most examples have.
    """
    words = []
    for parameter in command.params:
        name = str(parameter.name)
        if name in sound and draw(st.integers(0, 4)):
            value = sound[name]
            words += [value] if isinstance(parameter, click.Argument) else [parameter.opts[0], value]
        elif name != "help" and draw(st.integers(0, 5)) == 0:
            words += draw(option_values(parameter))
    if draw(st.integers(0, 30)) == 0:
        words.insert(draw(st.integers(0, len(words))), draw(TEXTS))
    return words


SCALARS = st.one_of(
    TEXTS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 300),
    st.floats(),
    st.sampled_from([2**63, 2**64, 10**30, -(2**63), 1e29, 1e300]),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(TEXTS, st.integers()), inner, max_size=3)
    ),
    max_leaves=5,
)
"""Values of settings."""


@st.composite
def settings_trees(draw: st.DrawFn, sound: Mapping[str, Any]) -> dict[str, Any]:
    """Draw a tree of settings: a sound one, changed in up to three places."""
    tree: dict[str, Any] = json.loads(json.dumps(sound))
    for _ in range(draw(st.integers(1, 3))):
        branch: Any = tree
        while isinstance(branch, dict) and branch:
            name = draw(st.sampled_from(sorted(branch, key=repr)))
            if not isinstance(branch[name], dict) or not branch[name] or draw(st.integers(0, 5)) == 0:
                break
            branch = branch[name]
        if not isinstance(branch, dict):
            continue
        match draw(st.integers(0, 7)):
            case 0:
                branch.pop(name, None)
            case 1:
                branch[draw(TEXTS)] = draw(TREES)
            case _:
                branch[name] = draw(TREES)
    return tree


ARROW_TYPES: Sequence[pa.DataType] = (
    pa.int8(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string(),
    pa.string_view(), pa.binary(), pa.binary(16), pa.date32(), pa.date64(), pa.timestamp("s"), pa.timestamp("ns", tz="UTC"),
    pa.time64("us"), pa.duration("ms"), pa.decimal128(38, 2), pa.decimal256(70, 0), pa.null(), pa.list_(pa.float32(), 2),
    pa.list_(pa.int64()), pa.list_(pa.list_(pa.float64())), pa.struct([("x", pa.int64())]), pa.map_(pa.string(), pa.int64()),
    pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.string_view()), pa.month_day_nano_interval(),
)  # fmt: skip
NAMES = st.sampled_from(
    [
        "id",
        "label",
        "features",
        "f0",
        "f1",
        "f2",
        "f3",
        "owner",
        "due",
        "key",
        "at",
        "request",
        "x",
        "",
        " id",
        "ID",
        "2022",
        "\u202e",
        "a\nb",
        "a" * 300,
    ]
)


def column(kind: pa.DataType, numbers: Sequence[int | None], extreme: bool) -> pa.Array:
    """Return a column of any type: casts of small numbers, or of extreme ones; nulls where there is no cast."""
    largest = 2**58 if extreme else 1
    integers = pa.array([None if number is None else number * largest for number in numbers], pa.int64())
    for bridge in (None, pa.string(), pa.float64()):
        try:
            return (integers if bridge is None else integers.cast(bridge)).cast(kind)
        except (pa.ArrowException, ValueError):
            continue
    try:
        return pa.array([None if number is None else _python_value(kind, number) for number in numbers], kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return pa.nulls(len(numbers), kind)


def _python_value(kind: pa.DataType, number: int) -> Any:
    if pa.types.is_struct(kind):
        return {"x": number}
    if pa.types.is_map(kind):
        return [("x", number)]
    if pa.types.is_fixed_size_list(kind):
        return [float(number), float("nan") if number < 0 else 0.5]
    if pa.types.is_list(kind):
        return [[float(number)]] if pa.types.is_list(kind.value_type) else [number] * (number % 3)
    if pa.types.is_fixed_size_binary(kind):
        return number.to_bytes(16, "little", signed=True)
    if pa.types.is_dictionary(kind):
        return str(number)
    return number


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Draw a small table of columns of any types, with any names, also twice."""
    rows = draw(st.integers(0, 6))
    arrays, names = [], []
    for _ in range(draw(st.integers(0, 5))):
        values = draw(st.lists(st.one_of(st.none(), st.integers(-2, 20)), min_size=rows, max_size=rows))
        arrays.append(column(draw(st.sampled_from(ARROW_TYPES)), values, draw(st.integers(0, 3)) == 0))
        names.append(draw(NAMES))
    return pa.Table.from_arrays(arrays, names=names)


def write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path)


def write_arrow(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, table.schema) as sink:
        sink.write_table(table)


def write_csv(table: pa.Table, path: Path) -> None:
    lines = [table.column_names, *([str(value) for value in row.values()] for row in table.to_pylist())]
    path.write_text("\n".join(",".join(line) for line in lines), encoding="utf-8", errors="surrogateescape")


WRITERS: Mapping[str, Callable[[pa.Table, Path], None]] = {
    ".parquet": write_parquet,
    ".arrow": write_arrow,
    ".csv": write_csv,
    ".txt": write_csv,
}
"""Ending -> what writes such a table. A type that the format does not have raises."""


def _flip(path: Path, position: int) -> None:
    payload = bytearray(path.read_bytes())
    if payload:
        payload[position % len(payload)] ^= 1 << position % 8
    path.write_bytes(payload)


def _replace_by_link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("x")


def _replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _swap(path: Path, other: Path) -> None:
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


CELLS = ("text", "", DEEP, b"\xff\x00", 2**62, -1, 1.5, None, "\u202e", "{}", "[]", LONG)
"""Values of a column of the journal."""


@st.composite
def damages(draw: st.DrawFn, run: Path) -> str:
    """Damage a file of a run, and return what was done."""
    files = sorted(path for path in run.rglob("*") if path.is_file() and not path.is_symlink())
    position, which, another = (
        draw(st.integers(0, 10**6)) for _ in range(3)
    )  # what is drawn may not depend on the files
    path, other = files[which % len(files)], files[another % len(files)]
    text = draw(st.sampled_from(["", "{}", "null", "[]", "7", DEEP, LONG, '{"seal": "\\ud800"}', "\0" * 100, "\udcff"]))
    target = draw(st.sampled_from(["/dev/zero", "/dev/null", "..", "itself", "another"]))
    target = {"itself": path.name, "another": str(other.absolute())}.get(target, target)
    ending = draw(st.sampled_from(["-wal", ".tmp", "0"]))
    value = draw(st.sampled_from(CELLS))
    kinds: Mapping[str, Callable[[], object]] = {
        "flip": lambda: _flip(path, position),
        "cut": lambda: path.write_bytes(path.read_bytes()[: position % (path.stat().st_size + 1)]),
        "remove": path.unlink,
        "replace": lambda: path.write_bytes(text.encode(errors="surrogateescape")),
        "lengthen": lambda: path.write_bytes(path.read_bytes() + text.encode(errors="surrogateescape")),
        "swap": lambda: _swap(path, other),
        "link": lambda: _replace_by_link(path, target),
        "folder": lambda: _replace_by_folder(path),
        "pipe": lambda: _replace_by_pipe(path),
        "forbid": lambda: path.chmod(0),
        "add": lambda: shutil.copy(path, path.with_name(f"{path.name}{ending}")),
        "row": lambda: _change_row(run / "journal.sqlite", which, another, value),
    }
    kind = draw(st.sampled_from(sorted(kinds)))
    kinds[kind]()
    return f"{kind} {path.relative_to(run)}"


def _change_row(journal: Path, table: int, column_number: int, value: Any) -> None:
    """Change one column of the journal to text, bytes, a number or nothing, as an editor of databases would."""
    if not journal.is_file():
        return
    with closing(sqlite3.connect(journal)) as database, suppress(sqlite3.Error):
        names = sorted(name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
        name = names[table % len(names)]
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({name})")]
        database.execute(f"UPDATE {name} SET {columns[column_number % len(columns)]} = ?", (value,))
        database.commit()
