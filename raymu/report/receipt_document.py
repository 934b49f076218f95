"""Receipts as people file them: what is said of a request, of its result, and of how to check it."""

from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime

from raymu.core.receipt import Receipt
from raymu.core.records import Exactness
from raymu.core.uri import basename
from raymu.report.load import issued_receipt as place_in_chain
from raymu.report.load import key_fingerprint
from raymu.report.request_index import RequestIndex
from raymu.report.requests import DatedEvent, RequestView, dates_of
from raymu.store.receipts import issued_receipt
from raymu.store.run import RunStore
from raymu.text import duration, plural, words


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckingCommand:
    """A command that checks a receipt."""

    command: str
    purpose: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiptDocument:
    """One request with its receipt."""

    run: str
    """Name of the run."""
    run_id: str
    now: datetime
    """When the document is made."""
    request: RequestView
    key_fingerprint: str | None
    """SHA-256 of the public key that receipts are signed with; None if it cannot be read."""

    @property
    def receipt(self) -> Receipt:
        return self.request.receipt

    @property
    def is_final(self) -> bool:
        """Whether nothing that the document says will change."""
        return self.receipt.is_exact and self.request.issued is not None and self.request.group is None

    @property
    def kind(self) -> str:
        """What the document is: a receipt only once one was issued."""
        return "Receipt of a deletion" if self.request.issued else "Request for a deletion"

    @property
    def dates(self) -> list[tuple[date, list[DatedEvent]]]:
        """What happened, by the day in UTC."""
        return dates_of(self.request)

    @property
    def result(self) -> str:
        """What was reached, in one sentence."""
        return result_sentence(self.receipt)

    @property
    def group(self) -> str:
        """What the request waits for together with others, in one sentence; empty if it does not wait."""
        wait = self.request.group
        return "" if wait is None else f"It is {wait}."

    @property
    def cost(self) -> str:
        """What the repairs took, in one sentence."""
        return cost_sentence(self.receipt)

    @property
    def checks(self) -> tuple[CheckingCommand, ...]:
        """The commands that check the receipt."""
        return checking_commands(self.receipt.request_id)


def result_sentence(receipt: Receipt) -> str:
    """Say what a request has reached. A patch is approximate, also after a later retraining."""
    if receipt.published_at is None:
        rewound = ": predictions come from states that never saw the samples" if receipt.rewound_at else ""
        return f"Not repaired yet{rewound}."
    patched = sum(part.settled_by is not None for part in receipt.shards)
    match receipt.exactness:
        case Exactness.EXACT if patched:
            return (
                f"Exact: {plural(patched, 'shard')} of it {'was' if patched == 1 else 'were'} first patched, which is "
                "approximate, and settled later by retraining without the samples."
            )
        case Exactness.EXACT:
            return "Exact: every shard that held the samples was retrained without them."
        case Exactness.INCONCLUSIVE:
            return "Inconclusive: no training from scratch is known to give the bits of the result."
        case _:
            return "Approximate: a shard is only patched. It becomes exact when it is retrained, by the due date below."


def cost_sentence(receipt: Receipt) -> str:
    """Say what the repairs took. Several shards of a request may share one repair, and several requests too."""
    if not receipt.shards:
        return "Nothing was computed yet."
    commands = {part.command_id: part for part in receipt.shards}.values()
    seconds, passes = sum(part.seconds for part in commands), sum(part.passes for part in commands)
    shared = max(part.requests for part in commands)
    with_others = f", shared with {plural(shared - 1, 'other request')}" if shared > 1 else ""
    remedies = ", ".join(dict.fromkeys(words(part.remedy) for part in receipt.shards))
    later = ", before it was settled" if any(part.settled_by for part in receipt.shards) else ""
    return f"Cost: {remedies}, {passes:,.0f} sample passes, {duration(seconds)} of compute{with_others}{later}."


def checking_commands(request_id: str) -> tuple[CheckingCommand, ...]:
    """Return the commands that check the receipt of a request."""
    return (
        CheckingCommand(
            command="raymu verify RUN",
            purpose="checks the signature, the chain of all receipts and the files of the run.",
        ),
        CheckingCommand(
            command=f"raymu receipts RUN --request {request_id} --attest FOLDER",
            purpose="writes the signed receipt, with the proof that the run issued it, for people without the run.",
        ),
        CheckingCommand(
            command="python check_receipts.py signing.pem FOLDER/receipt-*.json",
            purpose="checks what that command wrote, without raymu. The script is docs/check_receipts.py.",
        ),
    )


def read_receipts(
    store: RunStore, request_ids: Collection[str] | None = None, *, now: datetime
) -> list[ReceiptDocument]:
    """Read requests with their receipts, in the order of acceptance. The signature of each receipt is checked.

    Args:
        store: The run.
        request_ids: The requests; None for all.
        now: When the documents are made.

    Raises:
        FileCorrupt: A receipt was changed.
    """
    index = RequestIndex(store)
    requests = index.read(now)
    run_id, fingerprint = store.manifest.run_id, key_fingerprint(store)
    with closing(store.journal(is_read_only=True)) as journal:
        rows = {
            row.request_id: row for row in journal.receipt_rows(None if request_ids is None else tuple(request_ids))
        }
    for row in rows.values():
        issued_receipt(row, run=run_id, public_key=store.keys.public_key)
    return [
        ReceiptDocument(
            run=basename(store.location) or run_id,
            run_id=run_id,
            now=now,
            request=requests.view(
                receipt, place_in_chain(rows[receipt.request_id]) if receipt.request_id in rows else None
            ),
            key_fingerprint=fingerprint,
        )
        for receipt in requests.receipts
        if request_ids is None or receipt.request_id in request_ids
    ]
