from dataclasses import replace

from raymu.core.board.publication import Publication
from raymu.core.board.shard_index import ShardIndex
from raymu.core.board.shard_work import ShardWork
from raymu.core.commands import RepairReport, RepairShard
from raymu.core.events import GenerationPublished
from raymu.core.records import ShardLineage
from tests.unit.core.examples import NOW, accepted, lineage, report_of, request, trained_board


def commands() -> tuple[RepairShard, ...]:
    """Return the commands of two shards that are repaired for one request."""
    board = trained_board(on_accept="keep")
    board.handle(accepted(request("r1", {0: {1: 2}, 1: {1: 2}})))
    return board.repairs


def repair(publication: Publication, command: RepairShard) -> RepairReport:
    report = report_of(command, {1: 2}, version="1")
    publication.add_repair(command.lineage, report, repaired=["r1"], settled=[])
    return report


def shards(lineage: ShardLineage, repair: RepairShard | None = None) -> ShardIndex:
    """Index a shard, and another one that may be under repair."""
    other = repair.lineage if repair else replace(lineage, shard=1)
    return ShardIndex([ShardWork(lineage=lineage), ShardWork(lineage=other, repair=repair)])


def generation(number: int, repaired: tuple[str, ...]) -> GenerationPublished:
    return GenerationPublished(at=NOW, number=number, manifest_sha256="", repaired=repaired)


def test_nothing_is_destroyed_before_the_generation_that_supersedes_it() -> None:
    publication = Publication()
    report = repair(publication, commands()[0])
    publication.publish({}, (report.lineage,))
    assert publication.purge(shards(report.lineage), rows=0) == []
    publication.record_published(generation(2, ("r1",)))
    [purge] = publication.purge(shards(report.lineage), rows=2)
    assert purge.files == lineage().files - report.lineage.files
    assert (purge.request_ids, purge.rows) == (("r1",), 2)
    assert not publication.is_clear
    publication.record_purged(["r1"])
    assert publication.is_clear


def test_a_file_that_a_running_repair_reads_is_kept() -> None:
    first, second = commands()
    publication = Publication()
    report = repair(publication, first)
    publication.record_published(generation(2, ("r1",)))
    assert publication.purge(shards(report.lineage, second), rows=2) == []
    assert publication.purge(shards(report.lineage), rows=2)


def test_a_generation_has_its_cause() -> None:
    publication = Publication()
    assert publication.publish({}, ()).cause == "train"
    publication.record_published(generation(1, ()))
    assert publication.publish({}, ()).cause == "settle"
    publication.add_rewound(["r1"])
    assert publication.publish({}, ()).cause == "rewind"
    repair(publication, commands()[0])
    command = publication.publish({}, ())
    assert (command.cause, command.rewound, command.repaired) == ("repair", ("r1",), ("r1",))
