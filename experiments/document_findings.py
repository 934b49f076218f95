"""What the experiments found whose result is one JSON document, in a sentence for each."""

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wording import count

HERE = Path(__file__).parent
Document = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentFinding:
    """script: its name; documents: below results/; result: what they say, with numbers; shows: without any"""

    script: str
    documents: tuple[str, ...]
    result: Callable[[Sequence[Document]], str]
    shows: str

    @property
    def question(self) -> str:
        docstring = ast.get_docstring(ast.parse((HERE / f"{self.script}.py").read_text(encoding="utf-8"))) or ""
        return docstring.partition("\n")[0]

    @property
    def sentence(self) -> str:
        read = [json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8")) for name in self.documents]
        return self.result(read)


def _kills(documents: Sequence[Document]) -> str:
    [kills] = documents
    victims = ", ".join(f"{killed} {victim}s" for victim, killed in kills["by_victim"].items())
    return (
        f"{kills['kills']} kills ({victims}): {kills['requests_lost']} of {kills['requests_acknowledged']} acknowledged "
        f"requests lost, {kills['requests_accepted_twice'] + kills['repairs_applied_twice']} carried out twice; "
        f"{kills['runs_equal_to_the_undisturbed_one']} of {kills['runs']} runs equal to the undisturbed one, "
        f"{kills['runs_that_verify_passes_after_replay']} pass `verify --replay`"
    )


def _acknowledgements(documents: Sequence[Document]) -> str:
    cells = []
    for one in documents:
        single, many = one["single"], one["submission"]
        cells.append(
            f"{one['database']}: one by one {count(single['per_second'])} a second, 99 of 100 within "
            f"{single['p99_ms']:.1f} ms; {count(many['requests'])} at once "
            f"{count(many['acknowledged_per_second'])} a second, all served after {many['purged_after_s']:.0f} s, "
            f"with {many['peak_memory_mb']:.0f} MB"
        )
    return "; ".join(cells)


def _audit_power(documents: Sequence[Document]) -> str:
    cells = []
    for one in documents:
        found = {size["samples"]: size["forgot_nothing_found"] for size in one["forget_sets"]}
        alarms = [size[name] for size in one["forget_sets"] for name in ("exact_remembers", "exact_over_forgets")]
        finds = ", ".join(f"{share:.0%} of {samples}" for samples, share in found.items() if samples > 1)
        cells.append(
            f"{one['data'].removesuffix('-train.parquet')}: a model that forgot nothing fails {finds} samples' audits, an "
            f"exact retraining at most {max(alarms):.1%}"
        )
    return "; ".join(cells)


def _lira_agreement(documents: Sequence[Document]) -> str:
    ranks = [rank for one in documents for compared in one["comparisons"] for rank in compared["spearman"].values()]
    samples, version = documents[0]["samples"], documents[0]["comparisons"][0]["sacroml"]
    return f"Spearman's rank correlation over {count(samples)} samples at least {min(ranks):.4f} (sacroml {version})"


def _capacity(documents: Sequence[Document]) -> str:
    [one] = documents
    samples, coordinator, patched = one["samples"], one["coordinator"], one["requests"]["patched"]
    return (
        f"a sample: {samples['index_bytes']:.0f} bytes in the coordinator; a shard of {coordinator['slices']} slices: "
        f"{coordinator['generation_bytes_per_shard'] / 1000:.1f} kB in each generation; a request: "
        f"{patched['bytes'] / 1000:.1f} kB in the journal, {patched['message_bytes'] / 1000:.1f} kB to a worker and back"
    )


DOCUMENT_FINDINGS = (
    DocumentFinding(
        script="kills",
        documents=("kills",),
        result=_kills,
        shows="an acknowledged request is carried out once, whatever is killed on the way",
    ),
    DocumentFinding(
        script="acknowledgements",
        documents=("acknowledgements-sqlite-made-up", "acknowledgements-postgresql-made-up"),
        result=_acknowledgements,
        shows="requests that share a commit are acknowledged many times faster; all that touch a shard share one remedy",
    ),
    DocumentFinding(
        script="audit_power",
        documents=("audit-power-letter", "audit-power-fashion-mnist"),
        result=_audit_power,
        shows="an audit of a handful of samples sees little and says so; of fifty, it finds most models that forgot nothing",
    ),
    DocumentFinding(
        script="lira_agreement",
        documents=("lira-agreement-letter",),
        result=_lira_agreement,
        shows="the attack is the published one",
    ),
    DocumentFinding(
        script="capacity",
        documents=("capacity",),
        result=_capacity,
        shows="what bounds runs beyond one machine, worked out in [CAPACITY](../cluster/CAPACITY.md)",
    ),
)
