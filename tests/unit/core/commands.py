"""The commands of a board by kind, and the events that follow from them."""

from collections.abc import Sequence

from raymu.core.board.board import RevocationBoard
from raymu.core.commands import Command, PublishGeneration, Purge, RepairShard
from raymu.core.events import DamageFound, GenerationPublished, RequestsPurged, ShardRepaired
from tests.unit.core.examples import NOW, report_of


def repairs(commands: Sequence[Command]) -> list[RepairShard]:
    return [command for command in commands if isinstance(command, RepairShard)]


def publications(commands: Sequence[Command]) -> list[PublishGeneration]:
    return [command for command in commands if isinstance(command, PublishGeneration)]


def purges(commands: Sequence[Command]) -> list[Purge]:
    return [command for command in commands if isinstance(command, Purge)]


def repaired(command: RepairShard, version: str = "1") -> ShardRepaired:
    return ShardRepaired(at=NOW, report=report_of(command, {}, version=version))


def published(command: PublishGeneration, number: int = 2) -> GenerationPublished:
    return GenerationPublished(
        at=NOW,
        number=number,
        manifest_sha256="",
        rewound=command.rewound,
        repaired=command.repaired,
        settled=command.settled,
    )


def damaged(stages: dict[int, int]) -> DamageFound:
    return DamageFound(at=NOW, first_stages=stages)


def execute(board: RevocationBoard, *commands: Command) -> list[PublishGeneration]:
    """Execute the publications and purges among the commands, and return the publications."""
    publications_made: list[PublishGeneration] = []
    for command in commands:
        match command:
            case PublishGeneration():
                publications_made += [command, *execute(board, *board.handle(published(command, number=3)))]
            case Purge(files=files, request_ids=request_ids):
                purged = RequestsPurged(at=NOW, request_ids=request_ids, files=tuple(files), rows=0)
                publications_made += execute(board, *board.handle(purged))
    return publications_made
