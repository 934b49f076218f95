from dataclasses import replace
from datetime import timedelta

from raymu.config.unlearning import Strategy
from raymu.core.events import GenerationPublished, RequestsPurged, ShardRepaired
from raymu.core.receipts import Receipts
from raymu.core.records import Exactness
from tests.unit.core.commands import repairs
from tests.unit.core.examples import NOW, accepted, checkpoint, report_of, request, trained_board

FILES = tuple(checkpoint(0, stage).file for stage in range(4))


def test_a_receipt_follows_its_request_from_acceptance_to_settlement() -> None:
    board, book = trained_board(), Receipts()
    event = accepted(request("r1", {0: {1: 2}}, strategy=Strategy.DPUS))
    book.handle(event)
    [command] = repairs(board.handle(event))
    assert book.receipt("r1").exactness is None

    later = NOW + timedelta(seconds=1)
    book.handle(GenerationPublished(at=later, number=2, manifest_sha256="", rewound=("r1",)))
    assert (book.receipt("r1").rewound_at, book.receipt("r1").generation_rewound) == (later, 2)

    book.handle(ShardRepaired(at=NOW, report=report_of(command, {1: 2}, version="1")))
    book.handle(GenerationPublished(at=NOW, number=3, manifest_sha256="", repaired=("r1",)))
    book.handle(RequestsPurged(at=NOW, request_ids=("r1",), files=FILES, rows=2))
    receipt = book.receipt("r1")
    [shard] = receipt.shards
    assert (receipt.exactness, receipt.settled_at) == (Exactness.APPROXIMATE, None)
    assert (receipt.generation_before, receipt.generation_after, receipt.purged_files) == (1, 3, 4)
    assert (shard.samples, shard.forecast_passes) == (2, command.decision.passes)

    book.handle(GenerationPublished(at=later, number=4, manifest_sha256="", settled=("r1",)))
    assert (book.receipt("r1").exactness, book.receipt("r1").settled_at) == (Exactness.EXACT, later)


def test_an_exact_request_is_settled_with_its_publication() -> None:
    board, book = trained_board(), Receipts()
    event = accepted(request("r1", {0: {1: 1}}))
    book.handle(event)
    [command] = repairs(board.handle(event))
    book.handle(ShardRepaired(at=NOW, report=report_of(command, {1: 1}, version="1")))
    book.handle(GenerationPublished(at=NOW, number=3, manifest_sha256="", repaired=("r1",)))
    assert (book.receipt("r1").exactness, book.receipt("r1").settled_at) == (Exactness.EXACT, NOW)


def test_a_report_that_arrives_twice_is_entered_once() -> None:
    board, book = trained_board(), Receipts()
    event = accepted(request("r1", {0: {1: 1}}))
    book.handle(event)
    [command] = repairs(board.handle(event))
    for _ in range(2):
        book.handle(ShardRepaired(at=NOW, report=report_of(command, {1: 1}, version="1")))
    assert len(book.receipt("r1").shards) == 1


def test_an_inconclusive_result_does_not_meet_its_due_date() -> None:
    board, book = trained_board(), Receipts()
    event = accepted(request("r1", {0: {1: 1}}))
    book.handle(event)
    [command] = repairs(board.handle(event))
    report = report_of(command, {1: 1}, version="1")
    book.handle(ShardRepaired(at=NOW, report=report))
    book.handle(GenerationPublished(at=NOW, number=3, manifest_sha256="", repaired=("r1",)))
    exact = book.receipt("r1")
    inconclusive = replace(exact, exactness=Exactness.INCONCLUSIVE)
    after = exact.due_at + timedelta(seconds=1)
    assert (exact.at(NOW).due_met, exact.at(after).due_met) == (True, True)
    assert (inconclusive.at(NOW).due_met, inconclusive.at(after).due_met) == (None, False)


def test_a_receipt_of_the_first_version_that_counted_an_inconclusive_result_as_exact_in_time_is_as_issued() -> None:
    book = Receipts()
    book.handle(accepted(request("r1", {0: {1: 1}})))
    settled = replace(book.receipt("r1"), settled_at=NOW, exactness=Exactness.INCONCLUSIVE).at(NOW)
    assert settled.is_as_issued(settled)
    assert settled.is_as_issued(replace(settled, due_met=True))
    assert not settled.is_as_issued(replace(settled, due_met=False))
    assert not settled.is_as_issued(replace(settled, due_met=True, samples=99))
    exact = replace(settled, exactness=Exactness.EXACT).at(NOW)
    assert not exact.is_as_issued(replace(exact, due_met=None))
