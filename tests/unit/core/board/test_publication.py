from raymu.core.board.publication import Publication
from raymu.core.commands import RepairReport, RepairShard
from raymu.core.events import GenerationPublished
from tests.unit.core.examples import NOW, accepted, lineage, report_of, request, trained_board


def commands() -> tuple[RepairShard, ...]:
    """Two shards at work for one request."""
    board = trained_board(on_accept="keep")
    board.handle(accepted(request("r1", {0: {1: 2}, 1: {1: 2}})))
    return board.at_work


def repair(ledger: Publication, command: RepairShard) -> RepairReport:
    report = report_of(command, {1: 2}, version="1")
    ledger.repair(command.lineage, report, repaired=["r1"], settled=[])
    return report


def published(number: int, repaired: tuple[str, ...]) -> GenerationPublished:
    return GenerationPublished(at=NOW, number=number, manifest_sha256="", repaired=repaired)


def test_nothing_is_destroyed_before_the_generation_that_supersedes_it() -> None:
    ledger = Publication()
    report = repair(ledger, commands()[0])
    ledger.publish((), (report.lineage,))
    assert ledger.purge([report.lineage], [], rows=0) == []
    ledger.published(published(2, ("r1",)))
    [purge] = ledger.purge([report.lineage], [], rows=2)
    assert purge.files == lineage().files - report.lineage.files
    assert (purge.request_ids, purge.rows) == (("r1",), 2)
    assert not ledger.is_clear
    ledger.purged(["r1"])
    assert ledger.is_clear


def test_what_a_remedy_at_work_aims_at_is_kept() -> None:
    first, second = commands()
    ledger = Publication()
    report = repair(ledger, first)
    ledger.published(published(2, ("r1",)))
    assert ledger.purge([report.lineage], [second], rows=2) == []
    assert ledger.purge([report.lineage], [], rows=2)


def test_a_generation_says_what_it_was_made_for() -> None:
    ledger = Publication()
    assert ledger.publish((), ()).cause == "train"
    ledger.published(published(1, ()))
    assert ledger.publish((), ()).cause == "settle"
    ledger.rewind(["r1"])
    assert ledger.publish((), ()).cause == "rewind"
    repair(ledger, commands()[0])
    command = ledger.publish((), ())
    assert (command.cause, command.rewound, command.repaired) == ("repair", ("r1",), ("r1",))
