"""Write the bill of materials of the served generation: what it consists of, what it was trained on, and with what."""

import json
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from raymu.config import Config, TargetName
from raymu.core.model_bom import BomFacts, BomFile, BomMetric, model_bom
from raymu.core.records import Exactness, Generation
from raymu.core.uri import basename
from raymu.errors import FileCorrupt, FileMissing, FileUnreadable, RequestInvalid, StorageFailed
from raymu.output_file import atomic_write, check_output_path, require_ending
from raymu.service.history import History, replay
from raymu.service.model_signature import served_files
from raymu.service.served import waiting_requests
from raymu.store.run import RunStore
from raymu.text import plural
from raymu.training.checkpoint_metadata import read_metadata

_PLACES = frozenset({"weights", "path", "tokenizer"})
"""Arguments that name files, whose folders are not for readers of the document."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelBom:
    """A bill of materials that was written."""

    out: str
    serial_number: str
    """Of the document. The same generation has the same."""
    generation: int
    files: int
    """Files of the generation."""
    requests: int
    """Requests that took samples out."""
    exactness: str

    def __str__(self) -> str:
        """Return one line."""
        what = f"generation {self.generation} ({plural(self.files, 'file')})"
        return f"wrote {self.out}: {what}, {plural(self.requests, 'request')}, {self.exactness}"


def write_model_bom(store: RunStore, out: Path) -> ModelBom:
    """Write the bill of materials of the served generation, as CycloneDX 1.6. It names no sample and no owner.

    Args:
        store: The run.
        out: The file to write, which ends in `.json`.

    Raises:
        RequestInvalid: The file cannot be written, or accepted requests are not carried out yet.
        RaymuError: StorageFailed, or what reading the run raises.
    """
    require_ending(out, [".json"])
    check_output_path(out, reads={}, run=None if store.files.local is None else str(store.files.local))
    if waiting := waiting_requests(store):
        raise RequestInvalid(f"nothing is written: {waiting}")
    facts = read_facts(store)
    document = model_bom(facts)
    try:
        with atomic_write(out) as partial:
            partial.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageFailed(str(out), error.strerror or str(error)) from error
    return ModelBom(
        out=str(out),
        serial_number=document["serialNumber"],
        generation=facts.generation,
        files=len(facts.files),
        requests=facts.requests,
        exactness=facts.exactness,
    )


def read_facts(store: RunStore) -> BomFacts:
    """Read what the document says. Raises RunInvalid if another generation is published meanwhile."""
    number, files = served_files(store)
    generation, manifest = store.current(), store.manifest
    with closing(store.journal(is_read_only=True)) as journal:
        history = replay(journal, manifest)
        published = journal.published()
    if published is None or not published.number == generation.number == number:
        raise RequestInvalid("another generation is published just now; write the document again")
    config = Config.parse(manifest.config)
    receipts = history.receipts.receipts()
    exactness = _exactness(generation)
    return BomFacts(
        run=basename(store.location) or manifest.run_id,
        run_id=manifest.run_id,
        generation=number,
        manifest_sha256=published.manifest_sha256,
        published_at=generation.published_at,
        created_by=manifest.raymu_version,
        written_by=version("raymu"),
        target=str(config.task.target),
        model=str(config.model.name) if config.model.name else None,
        settings=_settings(config),
        inputs={name: spec.shape for name, spec in manifest.inputs.items()} or {"": manifest.input_shape},
        outputs=manifest.classes,
        voters=sum(each.checkpoint is not None for each in generation.constituents),
        samples=sum(lineage.samples for lineage in generation.lineages),
        tables=tuple(BomFile(path=lineage.table.path, sha256=lineage.table.sha256) for lineage in generation.lineages),
        files=tuple(BomFile(path=path, sha256=files[path]) for path in sorted(files)),
        determinism=_determinism(store, generation, history),
        metrics=tuple(
            BomMetric(
                name="R2" if config.task.target is TargetName.REGRESSION else "accuracy",
                value=evaluation.accuracy,
                samples=evaluation.samples,
            )
            for evaluation in history.evaluations
            if evaluation.number == number
        ),
        requests=len(receipts),
        revoked=sum(receipt.samples for receipt in receipts),
        exactness=str(exactness),
        patched=sum(lineage.exactness is Exactness.APPROXIMATE for lineage in generation.lineages),
    )


def _settings(config: Config) -> dict[str, Any]:
    """Return what was trained and how, without places of files, databases and clusters."""
    tree = config.tree()
    return {branch: _without_folders(tree[branch]) for branch in ("model", "training", "partition")}


def _without_folders(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    return {
        name: basename(value) if name in _PLACES and isinstance(value, str) else _without_folders(value)
        for name, value in tree.items()
    }


def _exactness(generation: Generation) -> Exactness:
    """Return the exactness of the least exact shard."""
    each = {lineage.exactness for lineage in generation.lineages}
    ordered = (Exactness.APPROXIMATE, Exactness.INCONCLUSIVE)
    return next((exactness for exactness in ordered if exactness in each), Exactness.EXACT)


def _determinism(store: RunStore, generation: Generation, history: History) -> tuple[str, ...]:
    """Return the determinism classes of the training and of all repairs, as JSON, each once."""
    classes = [part.determinism for receipt in history.receipts.receipts() for part in receipt.shards]
    with suppress(FileMissing, FileCorrupt, FileUnreadable):
        trained = read_metadata(store.files.read_checked(generation.lineages[0].serving.file)).get("determinism")
        classes += [str(trained)] if trained else []
    classes += [text for lineage in generation.lineages for text in lineage.earlier_classes]
    return tuple(sorted(set(classes)))
