from raymu.core.board.board import RevocationBoard
from raymu.core.events import Event
from raymu.core.receipts import Receipts


class RecordingObserver:
    """An observer that keeps each event, and how many receipts were published at that moment."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.published: list[int] = []
        self.is_closed, self.is_called_after_the_end = False, False

    def on_open(self, board: RevocationBoard, receipts: Receipts) -> None:
        self.board, self.receipts = board, receipts

    def on_event(self, event: Event) -> None:
        self.is_called_after_the_end |= self.is_closed
        self.events.append(event)
        self.published.append(self.count_published())

    def on_close(self) -> None:
        self.is_closed = True

    def count_published(self) -> int:
        """Return the number of requests whose receipts say that they are published, those that are done included."""
        return self.receipts.done.requests + sum(receipt.published_at is not None for receipt in self.receipts.open)
