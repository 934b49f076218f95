"""What differs between the code of a run and the code that is here now."""

from dataclasses import replace

import pytest

from raymu.core.code_record import CodeRecord

BEFORE = CodeRecord(
    modules={"models": "1", "layers": "2"},
    files={"weights.pt": "3"},
    distributions={"timm": "1.0"},
    initial_weights="4",
    constants={"models.TABLE": "5"},
    torch="2.13",
)


@pytest.mark.parametrize(
    ("now", "lines"),
    [
        (BEFORE, ()),
        (replace(BEFORE, modules={"models": "1", "layers": "9"}), ("layers (its code changed)",)),
        (replace(BEFORE, modules={"models": "1"}), ("layers (it is not used now)",)),
        (replace(BEFORE, modules={**BEFORE.modules, "more": "5"}), ("more (it was not used then)",)),
        (replace(BEFORE, files={"weights.pt": "9"}, initial_weights="9"), ("weights.pt (the file changed)",)),
        (replace(BEFORE, files={}), ()),
        (replace(BEFORE, distributions={"timm": "1.1"}), ("timm (1.0 then, 1.1 now)",)),
        (replace(BEFORE, distributions={}), ("timm (1.0 then, not installed now)",)),
        (replace(BEFORE, initial_weights="9"), ("the model (it starts from other weights)",)),
        (replace(BEFORE, initial_weights="9", torch="2.14"), ()),
        (
            replace(BEFORE, constants={"models.TABLE": "9"}),
            ("models.TABLE (it has another value in each process; draw it with a seed of its own)",),
        ),
        (replace(BEFORE, constants={"models.TABLE": "9"}, torch="2.14"), ()),
        (replace(BEFORE, constants={"models.FILLED_LATER": "9"}), ()),
    ],
)
def test_each_difference_is_named(now: CodeRecord, lines: tuple[str, ...]) -> None:
    assert BEFORE.differences(now) == lines
