"""What the experiments found: a question, what the results say to it, and what that shows."""

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sentences


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """script: its name; says: takes what its results hold, and says it with numbers; shows: without any

    documents: its results, where they are JSON; one that has none keeps rows, under its own name
    """

    script: str
    says: Callable[..., str]
    shows: str
    figures: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return Path(__file__).parent / f"{self.script}.py"

    @property
    def question(self) -> str:
        """The first line of the script's docstring; it is not imported, since some need Ray."""
        docstring = ast.get_docstring(ast.parse(self.path.read_text(encoding="utf-8"))) or ""
        return docstring.partition("\n")[0]

    @property
    def results(self) -> tuple[str, ...]:
        """Files below results/."""
        return tuple(f"{name}.json" for name in self.documents) or (f"{self.script}.csv",)


FINDINGS = (
    Finding(
        script="strategies",
        figures=("strategies-accuracy", "strategies-time", "strategies-forgetting"),
        says=sentences.strategies,
        shows="patches cost a small part of exact retraining; accuracy alone does not tell them from the control, which "
        "forgets nothing: the distance on the forget set does where few samples are revoked, and where many are, only replay "
        "stays near the oracle",
    ),
    Finding(
        script="partitions",
        figures=("partitions",),
        says=sentences.partitions,
        shows="shards divide a request's work and cost accuracy, since each model sees less; slices divide it further, for "
        "checkpoints on disk",
    ),
    Finding(
        script="boundary",
        figures=("boundary",),
        says=sentences.boundary,
        shows="work falls with every slice that is patched instead; beside it stands how far the forget set's losses are "
        "from the oracle's, too little and too much",
    ),
    Finding(
        script="contributions",
        figures=("contributions",),
        says=sentences.contributions,
        shows="whole batches destroy a shard's model unless they are calibrated; grouped updates are best as they are, since "
        "calibrating them costs accuracy; the gradient, which records nothing, is as good once it is calibrated",
    ),
    Finding(
        script="fine_tuning",
        figures=("fine_tuning",),
        says=sentences.fine_tuning,
        shows="each epoch gives accuracy back, and costs as much as the one before; three are the default",
    ),
    Finding(
        script="forgetting_time",
        figures=("forgetting_time",),
        says=sentences.forgetting_time,
        shows="rewinding forgets before any remedy runs; where every shard is touched in its first slice nothing is served "
        "until the first of them is repaired",
    ),
    Finding(
        script="limits",
        figures=("limits",),
        says=sentences.limits,
        shows="many requests for a shard at once make exact retraining a training from scratch; and where samples are few, "
        "one model that is trained anew in a moment is far more accurate than shards",
    ),
    Finding(
        script="traffic",
        figures=("traffic",),
        says=sentences.traffic,
        shows="requests that come together share their remedies, and exact retraining gains most; an owner's request is "
        "cheap where the partition is by owner",
    ),
    Finding(
        script="tuning",
        figures=("tuning",),
        says=sentences.tuning,
        shows="what is cheapest on one trace of a traffic is cheapest on another: to retrain always where few shards may owe "
        "retraining in the end, to patch always where all of them may",
    ),
    Finding(
        script="forecast",
        figures=("forecast",),
        says=sentences.forecast,
        shows="the work is known exactly; the time of short stages varies",
    ),
    Finding(
        script="throughput",
        figures=("throughput",),
        says=sentences.throughput,
        shows="checkpoints written through, and above all recorded updates, weigh against little training",
    ),
    Finding(
        script="scaling",
        figures=("scaling",),
        says=sentences.scaling,
        shows="shards train side by side; Ray's own processes share the cores",
    ),
    Finding(
        script="many_shards",
        figures=("many_shards",),
        says=sentences.many_shards,
        shows="what a request costs the coordinator grows with the number of shards, since a generation names them all",
    ),
    Finding(
        script="kills",
        documents=("kills",),
        says=sentences.kills,
        shows="an acknowledged request is carried out once, whatever is killed on the way",
    ),
    Finding(
        script="acknowledgements",
        documents=("acknowledgements-sqlite-made-up", "acknowledgements-postgresql-made-up"),
        says=sentences.acknowledgements,
        shows="requests that share a commit are acknowledged many times faster; all that touch a shard share one remedy",
    ),
    Finding(
        script="audit_power",
        documents=("audit-power-letter", "audit-power-fashion-mnist"),
        says=sentences.audit_power,
        shows="an audit of a handful of samples sees little and says so; of fifty, it finds most models that forgot nothing",
    ),
    Finding(
        script="lira_agreement",
        documents=("lira-agreement-letter",),
        says=sentences.lira_agreement,
        shows="the attack is the published one",
    ),
    Finding(
        script="capacity",
        documents=("capacity",),
        says=sentences.capacity,
        shows="what bounds runs beyond one machine, worked out in [CAPACITY](../cluster/CAPACITY.md)",
    ),
)
