import json
from itertools import pairwise

import pytest
from cryptography.fernet import InvalidToken
from hypothesis import given
from hypothesis import strategies as st

from raymu.runtime.jobs.result import CommandResult, JobLog, ResultKey, encrypt

KEY = ResultKey()
DONE = CommandResult(exit_code=0, output="", error="")


@given(
    output=st.text(),
    said=st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), max_size=4),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_the_output_arrives_unchanged_wherever_the_log_is_cut(output: str, said: list[str], cuts: list[int]) -> None:
    own = "".join(f"{line}\n" for line in said)
    result = CommandResult(exit_code=3, output=output, error="")
    text = own + encrypt(result, KEY.public) + "Ray says goodbye.\n"
    log, shown = JobLog(KEY), ""
    for start, end in pairwise(sorted({0, *cuts, len(text)})):
        shown += log.feed(text[start:end])
    assert log.result == result
    assert shown + log.end() == own + "Ray says goodbye.\n"


def test_a_line_without_an_end_is_shown_too() -> None:
    log = JobLog(KEY)
    shown = log.feed("50%" + encrypt(DONE, KEY.public))
    assert (shown, log.result) == ("50%\n", DONE)


def test_without_a_result_everything_is_shown() -> None:
    log, said = JobLog(KEY), "Runtime env is setting up.\nsh: 1: exec: python3: not found"
    assert log.feed(said) + log.end() == said
    assert log.result is None


def test_a_result_is_one_line_that_only_its_key_reads() -> None:
    result = CommandResult(
        exit_code=2, output=json.dumps({"name": "Zoë"}) + "\n", error="raymu: 1 unknown sample id (Zoë)"
    )
    line = encrypt(result, KEY.public)
    assert line.isascii()
    assert line.count("\n") == 1
    assert not any(word in line for word in ("name", "unknown", KEY.public))
    with pytest.raises(InvalidToken):
        JobLog(ResultKey()).feed(line)
    assert encrypt(result, KEY.public) != line
