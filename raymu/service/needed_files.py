"""The files that the state of a run refers to."""

from raymu.core.board.board import RevocationBoard
from raymu.core.records import FileRef
from raymu.store.run import RunStore


def needed_files(store: RunStore, board: RevocationBoard) -> set[FileRef]:
    """Return every file that is served, or that running work starts from or aims at. Its reports are not read.

    Args:
        store: The run.
        board: Its state.
    """
    published, lineages = board.published_command, board.lineages
    served = zip(published.lineages, lineages, strict=True) if published else ()
    others = [before for before, now in served if before is not now]
    needed = {file for lineage in (*lineages, *others) for file in lineage.files}
    needed |= set(board.tables) | store.shared_files
    needed |= set(filter(None, board.indexes)) | set(store.manifest.routes_with(board.added_routes) or ())
    return needed | {file for command in board.awaited for reference in command.references for file in reference.files}
