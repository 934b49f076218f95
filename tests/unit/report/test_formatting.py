from datetime import datetime, timedelta, timezone

import pytest

from raymu.report.formatting import brief, compact, moment, printable, prose
from raymu.text import duration, plural, words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 ms"), (0.0042, "4.2 ms"), (0.0994, "99 ms"), (0.0996, "0.0996 s"),
        (0.31, "0.31 s"), (12.44, "12.4 s"), (200, "3 min 20 s"), (3600, "1 h"),
        (18_120, "5 h 2 min"), (86_400, "1 day"), (12.2 * 86_400, "12 days"), (-0.5, "-0.5 s"), (3599.7, "1 h"),
    ],
)  # fmt: skip
def test_a_duration_has_a_suitable_unit(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_axes_are_labelled_briefly() -> None:
    assert [compact(10.0**power) for power in range(0, 10, 3)] == ["1", "1,000", "1M", "1G"]
    assert [compact(10_000), compact(100_000)] == ["10k", "100k"]
    assert [brief(0.001), brief(0.1), brief(1), brief(1000)] == ["1 ms", "100 ms", "1 s", "1,000 s"]


def test_a_count_agrees_with_its_noun() -> None:
    assert [plural(1, "shard"), plural(0, "shard"), plural(1200, "row")] == ["1 shard", "0 shards", "1,200 rows"]


def test_a_time_is_shown_in_utc() -> None:
    local = datetime(2026, 5, 17, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    assert "2026-05-17 12:00:00 UTC" in moment(local)


def test_commands_in_prose_are_marked_and_other_text_is_escaped() -> None:
    assert prose("run `raymu settle` <now>") == "run <code>raymu settle</code> &lt;now&gt;"
    assert prose("`<b>` or ` alone") == "<code>&lt;b&gt;</code> or ` alone"
    assert prose("no commands") == "no commands"


def test_characters_that_cannot_be_printed_are_replaced() -> None:
    assert printable("a\x00b\x1b[0m\u202ec\nd é 字") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}[0m" + (
        "\N{REPLACEMENT CHARACTER}c\nd é 字"
    )


def test_names_read_as_words() -> None:
    assert words("patch_and_fine_tune") == "patch and fine-tune"
    assert words("mean_probability") == "mean probability"
