"""The causes of generations, from the events of a golden journal."""

from contextlib import closing
from pathlib import Path

from raymu.callbacks.watcher import causes_of
from raymu.core.events import GenerationPublished
from tests.support.golden_journals import GOLDEN, restore


def test_every_generation_has_the_cause_that_its_file_had(tmp_path: Path) -> None:
    with closing(restore(GOLDEN / "0.2-extended", tmp_path / "run").journal()) as journal:
        events = list(journal.events())
    causes = causes_of(events)
    assert set(causes) == {event.number for event in events if isinstance(event, GenerationPublished)}
    assert causes[1] == "train"
    assert set(causes.values()) == {"train", "rewind", "repair", "settle", "rebuild", "extend"}
