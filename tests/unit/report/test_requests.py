from dataclasses import replace
from datetime import timedelta

import pytest

from raymu.core.receipt import Receipt, RequestStage
from raymu.core.records import Exactness
from raymu.report.requests import DeadlineStatus, request_view
from tests.unit.core.examples import NOW

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ACCEPTED = Receipt(
    request_id="r1",
    hashes=("hash",),
    strategy="hs",
    boundary="0.35",
    samples=2,
    received_at=NOW,
    due_at=NOW + DAY,
    accepted_at=NOW + timedelta(milliseconds=3),
    generation_before=1,
    manifest_before="",
)
REWOUND = replace(ACCEPTED, rewound_at=NOW + timedelta(milliseconds=5))
PATCHED = replace(REWOUND, repaired_at=NOW + HOUR, published_at=NOW + HOUR, purged_at=NOW + HOUR)
PATCHED = replace(PATCHED, exactness=Exactness.APPROXIMATE)
EXACT = replace(PATCHED, settled_at=NOW + 2 * HOUR, exactness=Exactness.EXACT)


@pytest.mark.parametrize(
    ("receipt", "result", "done"),
    [
        (ACCEPTED, RequestStage.ACCEPTED, "accepted"),
        (REWOUND, RequestStage.REWOUND, "rewound"),
        (PATCHED, Exactness.APPROXIMATE, "purged"),
        (EXACT, Exactness.EXACT, "settled"),
        (replace(EXACT, exactness=Exactness.INCONCLUSIVE), Exactness.INCONCLUSIVE, "settled"),
    ],
)
def test_a_request_shows_its_result_and_its_last_step(receipt: Receipt, result: str, done: str) -> None:
    view = request_view(receipt, late=(), now=NOW + 3 * HOUR)
    assert (view.result, view.last_step) == (result, done)


@pytest.mark.parametrize(
    ("receipt", "late", "after", "deadline_status"),
    [
        (PATCHED, (), 3 * HOUR, DeadlineStatus.IN_TIME),
        (PATCHED, ("r1",), 3 * HOUR, DeadlineStatus.AT_RISK),
        (PATCHED, ("r1",), 2 * DAY, DeadlineStatus.OVERDUE),
        (EXACT, (), 2 * DAY, DeadlineStatus.KEPT),
        (replace(EXACT, settled_at=NOW + 2 * DAY), (), 3 * DAY, DeadlineStatus.MISSED),
    ],
)
def test_a_request_meets_or_misses_its_due_date(
    receipt: Receipt, late: tuple[str, ...], after: timedelta, deadline_status: DeadlineStatus
) -> None:
    assert request_view(receipt, late=late, now=NOW + after).deadline_status is deadline_status


def test_steps_are_done_open_or_skipped() -> None:
    kept = replace(PATCHED, rewound_at=None)
    steps = request_view(kept, late=(), now=NOW + 3 * HOUR).steps
    assert [step.name for step in steps] == ["accepted", "rewound", "repaired", "published", "purged", "settled"]
    assert [step.is_skipped for step in steps] == [False, True, False, False, False, False]
    assert [step.after_s for step in steps] == [0.003, None, 3600.0, 3600.0, 3600.0, None]


def test_a_request_is_not_repaired_while_some_of_its_shards_are_not() -> None:
    some = replace(REWOUND, repaired_at=NOW + HOUR)
    assert request_view(some, late=(), now=NOW + 2 * HOUR).last_step == "rewound"
