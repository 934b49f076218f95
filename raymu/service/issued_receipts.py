"""Issued receipts, looked up in the journal: those of requests that are done are nowhere else."""

from collections.abc import Collection, Iterable

from raymu.core.receipt import Receipt
from raymu.core.records import Exactness
from raymu.store.journal.journal_reader import JournalReader
from raymu.store.receipts import ReceiptRow, issued_receipt
from raymu.store.run import RunStore


class JournalReceipts:
    """The receipts that a journal has issued. Each one is checked by its signature."""

    def __init__(self, store: RunStore, journal: JournalReader) -> None:
        self._store = store
        self.journal = journal
        """Where receipts are looked up; another one once the run is taken over."""
        self.until: int | None = None
        """During a replay, the number of its event: receipts that later ones issued are left out."""

    def find(self, request_ids: Collection[str]) -> dict[str, Receipt]:
        """Return the last receipt of each of these requests: request -> receipt. Raises FileCorrupt."""
        return self._latest(self.journal.receipt_rows(tuple(request_ids)))

    def inconclusive(self, shard: int) -> Iterable[Receipt]:
        """Return the last receipts that name a shard whose repair was inconclusive. Reads all. Raises FileCorrupt."""
        return [
            receipt
            for receipt in self._latest(self.journal.receipt_rows()).values()
            if any(part.shard == shard and part.exactness is Exactness.INCONCLUSIVE for part in receipt.shards)
        ]

    def _latest(self, rows: Iterable[ReceiptRow]) -> dict[str, Receipt]:
        run, key = self._store.manifest.run_id, self._store.keys.public_key
        issued = (issued_receipt(row, run=run, public_key=key) for row in rows)
        return {receipt.request_id: receipt for event, receipt in issued if self.until is None or event < self.until}
