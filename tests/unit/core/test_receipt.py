from datetime import timedelta

from raymu.config.unlearning import Strategy
from raymu.core.events import GenerationPublished, RequestsPurged, ShardRepaired
from raymu.core.receipt import Receipts
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
