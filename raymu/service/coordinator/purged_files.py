"""Closes the indexes of purged samples in the process of the coordinator, which has mapped their files."""

from raymu.core.board.board import RevocationBoard
from raymu.core.events import Event, RequestsPurged
from raymu.core.receipts import Receipts
from raymu.service.requests.sample_index import SampleIndex


class PurgedFilesCloser:
    """Observes purges: a file that was destroyed can be read as long as it is mapped."""

    def __init__(self, samples: SampleIndex) -> None:
        self._samples = samples

    def on_open(self, board: RevocationBoard, receipts: Receipts) -> None:
        """Do nothing: no index is open yet."""

    def on_event(self, event: Event) -> None:
        """Close what a purge has destroyed."""
        if isinstance(event, RequestsPurged):
            self._samples.close(event.files)

    def on_close(self) -> None:
        """Do nothing."""
