"""Whatever settings cannot be becomes one line that names the limit, quickly, and before anything is computed from it."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest

from raymu.config import Config
from raymu.config.limits import MAX_DEPTH, MAX_FILE_BYTES, MAX_VALUES, check_tree
from raymu.errors import ConfigInvalid

SOUND = "data: {train: a.parquet}\nmodel: {name: mlp}\n"


def doubling(first: str, line: str, lines: int) -> str:
    """Return lines that each name the line before twice by its anchor."""
    names = [f"a{number}" for number in range(lines + 1)]
    rest = "".join(f"{after}: &{after} {line.format(before)}\n" for before, after in itertools.pairwise(names))
    return f"a0: &a0 {first}\n{rest}"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x: !!int ''", "'' cannot be read as int"),
        ("x: !!float ''", "'' cannot be read as float"),
        ("x: !!bool maybe", "'maybe' cannot be read as bool"),
        ("x: !!timestamp nope", "'nope' cannot be read as timestamp"),
        ("x: !!timestamp 2020-13-41", "cannot be read as timestamp"),
        ("x: !!null [1]", "line 3"),
        ("x: !!python/object:os.system {}", "could not determine a constructor for the tag"),
        ("x: !own 3", "could not determine a constructor for the tag"),
        ("? {a: 1}\n: 2", "a name is a mapping or a list"),
        ("? [a]\n: 2", "a name is a mapping or a list"),
        ("1: 2", "the name 1 is not text; put it in quotes"),
        ("on: 2", "the name True is not text"),
        ("model: {name: mlp}", "model is given twice"),
        ("training:\n\tepochs: 3", "cannot start any token"),
        ("x: \0", "#x0000"),
        ("---\nx: 1", "another document"),
        ("x: *nowhere", "undefined alias"),
        ("x: &x [*x]", "anchors expanded"),
        ("x: &x {<<: *x}", "anchors expanded"),
        (doubling("[x, x]", "[*{0}, *{0}]", 40), f"more than {MAX_VALUES:,} values, anchors expanded"),
        (doubling("{x: 1}", "{{<<: [*{0}, *{0}]}}", 40), f"more than {MAX_VALUES:,} values, anchors expanded"),
        ("x: " + "[" * 3000, f"nested more than {MAX_DEPTH} deep"),
        ("x: " + "{a: " * 3000, f"nested more than {MAX_DEPTH} deep"),
        ("".join(" " * depth + "a:\n" for depth in range(200)), f"nested more than {MAX_DEPTH} deep"),
        ("x: " + "9" * 5000, "cannot be read as int"),
        ("training: {epochs: 0x" + "f" * 5000 + "}", "training.epochs: does not fit in 64 bits"),
        ("training: {epochs: 1e29}", "training.epochs: must be a whole number"),
        ("training: {epochs: 1.0e+29}", "training.epochs: "),
        ("training: {learning_rate: .nan}", "training.learning_rate: must be a finite number, not nan"),
        ("training: {learning_rate: -.inf}", "training.learning_rate: must be a finite number, not -inf"),
        ('training: {device: "c\\0pu"}', "training.device: has control characters"),
        ('training: {"c\\x01": 1}', "the name"),
        ("#" + "x" * MAX_FILE_BYTES, f"larger than {MAX_FILE_BYTES:,} bytes"),
        ("\ud800", "cannot be read"),
    ],
    ids=lambda text: text[:24],
)
def test_a_file_beyond_a_limit_is_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "run.yaml").write_bytes((SOUND + text).encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigInvalid) as caught:
        Config.load(tmp_path / "run.yaml")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700 + len(str(tmp_path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_may_be_written_on_any_system(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "run.yaml").write_bytes(SOUND.replace("\n", "\r\n").encode(encoding))
    assert Config.load(tmp_path / "run.yaml").model.name == "mlp"


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_bytes(f"{SOUND}# é".encode("latin-1"))
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        Config.load(tmp_path / "run.yaml")


BOUNDS = [
    ("training.epochs", 10**7, "at most 1000000"),
    ("training.batch_size", 10**10, "at most 1000000000"),
    ("training.accumulate", 10**10, "at most 1000000000"),
    ("partition.shards", 10**6, "at most 100000"),
    ("partition.slices", 10**6, "at most 10000"),
    ("data.classes", 2**40, "at most 1000000"),
    ("cluster.threads", 1024, "at most 256"),
    ("cluster.loading_threads", 1024, "at most 256"),
    ("cluster.workers_per_shard", 65, "at most 64"),
    ("cluster.shards_per_lane", 1025, "at most 1024"),
    ("cluster.live_actors", 10**12, "at most 1000000000"),
    ("unlearning.ohs.epochs", 10**12, "at most 1000000"),
    ("unlearning.ohs.slices", 10**12, "at most 10000"),
    ("unlearning.curvature.samples", 10**12, "at most 1000000000"),
    ("unlearning.curvature.iterations", 10**12, "at most 1000000000"),
    ("unlearning.curvature.steps", 10**12, "at most 1000000000"),
    ("unlearning.curvature.calibration_samples", 10**12, "at most 1000000000"),
    ("unlearning.groups_per_slice", 10**12, "at most 1000000000"),
]


def tree_with(dotted: str, value: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {"data": {"train": "a.parquet"}, "model": {"name": "mlp"}}
    *branches, name = dotted.split(".")
    branch = tree
    for part in branches:
        branch = branch.setdefault(part, {})
    branch[name] = value
    return tree


@pytest.mark.parametrize(("dotted", "value", "complaint"), BOUNDS, ids=[row[0] for row in BOUNDS])
def test_every_count_has_an_upper_bound_that_its_message_names(dotted: str, value: int, complaint: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        Config.parse(tree_with(dotted, value))
    assert str(caught.value) == f"{dotted}: must be {complaint}"
    with pytest.raises(ConfigInvalid, match=f"{dotted}: does not fit in 64 bits"):
        Config.parse(tree_with(dotted, 2**63))


def counts(tree: dict[str, Any], path: tuple[str, ...] = ()) -> set[str]:
    """Return the names of all settings whose value is a whole number."""
    names = set()
    for name, value in tree.items():
        if isinstance(value, dict):
            names |= counts(value, (*path, name))
        elif isinstance(value, int) and not isinstance(value, bool):
            names.add(".".join((*path, name)))
    return names


def test_no_whole_number_is_without_a_bound() -> None:
    """A new setting gets one too."""
    defaults = Config.parse({"data": {"train": "a.parquet"}, "model": {"name": "mlp"}}).tree()
    assert counts(defaults) <= {dotted for dotted, _, _ in BOUNDS} | {"partition.seed"}


def test_a_tree_that_repeats_itself_ends() -> None:
    tree: dict[str, Any] = {}
    tree["model"] = {"args": tree}
    with pytest.raises(ConfigInvalid, match=f"nested more than {MAX_DEPTH} deep"):
        check_tree(tree)
    wide = [[["x"] * 100] * 100] * 100
    with pytest.raises(ConfigInvalid, match=f"more than {MAX_VALUES:,} values"):
        check_tree({"model": {"args": {"x": wide}}})


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**64, "\0", "\ud800", "\x7f", {3: 4}])
def test_an_argument_of_a_factory_is_checked_as_any_setting(value: object) -> None:
    with pytest.raises(ConfigInvalid, match=r"model\.args\.x"):
        Config.parse({"data": {"train": "a.parquet"}, "model": {"factory": "a:b", "args": {"x": [value]}}})


def test_text_of_several_lines_is_text() -> None:
    check_tree({"data": {"id": "row\tid\nof the table"}})


def test_thousands_of_unknown_settings_are_refused_at_once() -> None:
    with pytest.raises(ConfigInvalid, match="no such setting; and 5000 more"):
        Config.parse({f"name{number}": 1 for number in range(5001)})
