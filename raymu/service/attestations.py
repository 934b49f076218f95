"""Receipts of a run for others: each in a signed envelope, with a proof, in a folder with the public key."""

import json
import shutil
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from raymu.errors import RequestInvalid, StorageFailed
from raymu.output_file import check_output_folder
from raymu.store.attestations import attest, public_key_pem
from raymu.store.run import RunStore
from raymu.text import one_line, plural

PUBLIC_KEY_FILE = "signing.pem"


@dataclass(frozen=True, kw_only=True, slots=True)
class AttestationFolder:
    """A folder that was written for others."""

    out: str
    files: tuple[str, ...]
    """Names of its files, the public key first."""

    def __str__(self) -> str:
        """Return one line."""
        return (
            f"{plural(len(self.files) - 1, 'receipt')} in {self.out}, and {PUBLIC_KEY_FILE}, the key that checks them"
        )


def receipt_attestations(store: RunStore, request_ids: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Return the receipts of these requests, or of all, each in a signed envelope with the proof that the run issued it.

    Raises:
        FileCorrupt: A receipt was changed. Nothing is signed then.
        RequestInvalid: A request is unknown, or has no receipt yet.
    """
    with closing(store.journal(is_read_only=True)) as journal:
        rows = journal.receipt_rows()
    if request_ids is not None and (unknown := set(request_ids) - {row.request_id for row in rows}):
        raise RequestInvalid(
            f"{one_line(min(unknown))}: no receipt of such a request was issued; it is issued at the purge"
        )
    numbers = [row.number for row in rows if request_ids is None or row.request_id in request_ids]
    return list(attest(rows, run=store.manifest.run_id, signing_key=store.keys.signing_key, numbers=numbers))


def write_attestations(store: RunStore, out: Path, request_ids: Collection[str] | None = None) -> AttestationFolder:
    """Write receipts in envelopes, one file each, and the public key, into a new folder, which appears whole or not at all.

    Args:
        store: The run.
        out: A folder that is new or empty.
        request_ids: The requests; None for all.

    Raises:
        RequestInvalid: The folder cannot be written, or there is no receipt.
        RaymuError: StorageFailed, or what reading the run raises.
    """
    local = store.files.local
    check_output_folder(out, run=None if local is None else str(local))
    attestations = receipt_attestations(store, request_ids)
    if not attestations:
        raise RequestInvalid("no receipt was issued yet: a request has one once it is purged")
    partial = out.absolute().with_name(f".{out.name}.{uuid4().hex}.partial")
    names = [PUBLIC_KEY_FILE]
    try:
        partial.mkdir()
        (partial / PUBLIC_KEY_FILE).write_bytes(public_key_pem(store.keys.public_key))
        for attestation in attestations:
            names.append(f"receipt-{attestation['inclusion']['index'] + 1:06d}.json")
            (partial / names[-1]).write_text(json.dumps(attestation, indent=1, ensure_ascii=False), encoding="utf-8")
        if out.exists():
            out.rmdir()  # it is empty
        partial.rename(out)
    except OSError as error:
        raise StorageFailed(str(out), error.strerror or str(error)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return AttestationFolder(out=str(out), files=tuple(names))
