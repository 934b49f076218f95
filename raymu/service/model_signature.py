"""Signatures of a run's generations for others, who check the files with OpenSSF's model_signing and without raymu."""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from raymu.errors import RequestInvalid, RunInvalid, StorageFailed
from raymu.output_file import atomic_write, check_output_path, require_ending
from raymu.service.served import waiting_requests
from raymu.store.generations import generation_path
from raymu.store.model_signature import model_key_pem, sign_model
from raymu.store.run import RunStore
from raymu.text import plural


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSignature:
    """A signature that was written."""

    out: str
    """The file with the signature."""
    public_key: str
    """The file with the key that checks it."""
    generation: int
    """The generation that was signed."""
    files: tuple[str, ...]
    """Its files, relative to the run directory."""
    check: str
    """The command that checks it."""

    def __str__(self) -> str:
        """Return three lines."""
        what = f"generation {self.generation} ({plural(len(self.files), 'file')})"
        return f"signed {what} into {self.out}, with the key {self.public_key}; anyone checks it by\n  {self.check}"


def sign_generation(store: RunStore, out: Path) -> ModelSignature:
    """Sign the files of the served generation: its record, the states that vote, and the weights that all begin with.

    A later generation needs a new signature. Once this one is purged, its signature fits no files any more.

    Args:
        store: The run.
        out: The file to write, which ends in `.sig`. The public key is written beside it, with the ending `.pem`.

    Raises:
        RequestInvalid: The file cannot be written, or accepted requests wait for a state that saw their samples.
        RaymuError: StorageFailed, or what reading the run raises.
    """
    require_ending(out, [".sig"])
    key = out.with_suffix(".pem")
    local = None if store.files.local is None else str(store.files.local)
    for path in (out, key):
        check_output_path(path, reads={}, run=local)
    if (waiting := waiting_requests(store)) and waiting.is_kept:
        raise RequestInvalid(f"nothing is signed: {waiting}")
    store.require_bound_key()
    number, files = served_files(store)
    name = Path(store.files.display_location).name or store.manifest.run_id
    bundle = sign_model(files, name=name, signing_key=store.keys.signing_key)
    try:
        for path, payload in (
            (key, model_key_pem(store.keys.signing_key)),
            (out, json.dumps(bundle, indent=1).encode()),
        ):
            with atomic_write(path) as partial:
                partial.write_bytes(payload)
    except OSError as error:
        raise StorageFailed(str(out), error.strerror or str(error)) from error
    place = local or "COPY-OF-THE-RUN"
    check = f"model_signing verify key {place} --signature {out} --public_key {key} --ignore_unsigned_files"
    return ModelSignature(out=str(out), public_key=str(key), generation=number, files=tuple(sorted(files)), check=check)


def served_files(store: RunStore) -> tuple[int, Mapping[str, str]]:
    """Return the number of the served generation, and its files: path -> SHA-256 in hex. Raises RunInvalid."""
    generation = store.current()
    with closing(store.journal(is_read_only=True)) as journal:
        published = journal.published()
    if published is None or published.number != generation.number:
        raise RunInvalid(store.files.display_location, "publishes a generation just now; sign it again")
    checkpoints = [each.checkpoint.file for each in generation.constituents if each.checkpoint is not None]
    shared = [store.manifest.base] if store.manifest.base else []
    files = {file.path: file.sha256 for file in (*checkpoints, *shared)}
    return generation.number, {generation_path(published.number): published.manifest_sha256, **files}
