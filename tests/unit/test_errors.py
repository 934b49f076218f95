import pickle

import pytest

from raymu.errors import (
    FileCorrupt,
    FileMissing,
    FileUnreadable,
    JobFailed,
    RaymuError,
    RunRolledBack,
    StorageFailed,
    TrainingFailed,
    UnknownOwner,
    UnknownSamples,
    mark_unfinished,
    unfinished_requests,
)
from raymu.text import one_line


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        ("a\n  b\tc\r\n", "a b c"),
        ("\x1b[2Jgone\0", "\\x1b[2Jgone\\x00"),
        ("\udcff", "\\udcff"),
        ("Zoë", "Zoë"),
        (KeyError("id"), "'id'"),
        (ValueError(), "ValueError"),
        ("", ""),
        ("x" * 400, "x" * 300 + "..."),
    ],
)
def test_any_message_becomes_one_printable_line(problem: object, line: str) -> None:
    assert one_line(problem) == line


@pytest.mark.parametrize(
    ("path", "is_rebuilt"),
    [
        ("runs/a/generations/00000003.json", True),
        ("s3://b/a/samples/0001-pyarrow26.0.1-764f5d550f60ca4c.parquet", True),
        ("shards/0001/stage-2-764f5d550f60ca4c.safetensors", True),
        ("runs/samples/1/run.json", False),
        ("runs/a/signing.key", False),
        ("the journal", False),
        ("journal event 7", False),
        ("receipt 2 (r1)", False),
    ],
)
def test_a_damaged_file_names_what_restores_it(path: str, is_rebuilt: bool) -> None:
    for error in (FileCorrupt(path, "changed"), FileMissing(path)):
        assert ("`raymu rebuild`" in str(error)) is is_rebuilt
        assert "from a backup" in str(error)


@pytest.mark.parametrize(
    "error",
    [
        UnknownSamples(["7", "8"], 3),
        UnknownOwner("anna"),
        FileUnreadable("run.json", "Permission denied"),
        RunRolledBack("runs/letter", 17),
        JobFailed("raymu-1", "it was stopped"),
        TrainingFailed(2, 1, "its weights became infinite"),
    ],
)
def test_an_error_says_the_same_in_another_process(error: RaymuError) -> None:
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_the_mark_of_unfinished_work_travels_with_an_error_and_is_found_behind_the_error_that_replaced_it() -> None:
    error = StorageFailed("epoch", "full")
    assert unfinished_requests(error) is None
    mark_unfinished(error)
    assert unfinished_requests(error) == ()
    mark_unfinished(error, ["r1", "r2"])
    assert unfinished_requests(pickle.loads(pickle.dumps(error))) == ("r1", "r2")
    interruption = KeyboardInterrupt()
    interruption.__context__ = error
    assert unfinished_requests(interruption) == ("r1", "r2")
