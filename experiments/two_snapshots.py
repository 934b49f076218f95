"""Does whoever saw the predictions before and after a deletion find the deleted sample, and what prevents it?

Method: `raymu audit --two-snapshots` on trained runs of the letter data with 8 shards x 5 slices. Random samples are deleted
in memory, one alone or 16 together, and the shards are retrained or patched as a run does. The attacker knows labels and
predictions of all samples, and for one half of them what was deleted, and is tested on the other half. Every kind of change
is tried 40 times for each of two seeds. Intervals are a bootstrap over the changes. It takes 22 minutes on two cores
that others use too.

Conclusion: whoever has probabilities of both finds a deleted sample far more often than by chance, and exact retraining does
not prevent it. A group makes the guess a little worse, and less often names the sample of a given request. It does not
reduce it to chance. A patch hides no better than a retraining. Labels without probabilities leave hardly anything to find.
"""

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, map_concurrently, run_experiment
from experiments.plots import PALETTE, panels
from experiments.setups import Setup, setup_columns, trained
from raymu.core.trust import EVERYTHING
from raymu.service.audit.snapshot_report import SNAPSHOT_ROWS, SnapshotAttack, SnapshotReport, SnapshotScope
from raymu.service.audit.two_snapshots import audit_two_snapshots
from raymu.store.run import RunStore
from raymu.text import words

GROUP = 16
CHANGES, SMOKE_CHANGES = 40, 8
ANSWERS = ("probabilities", "labels only")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    setup: Setup

    def __str__(self) -> str:
        return str(self.setup)


def measure(options: Options) -> list[Row]:
    return map_concurrently(_measure, [Job(setup=setup) for setup in options.setups(seeds=2)], options)


def _measure(job: Job) -> list[Row]:
    setup = job.setup
    with trained(setup) as comparison:
        scope = SnapshotScope(changes=SMOKE_CHANGES if setup.is_smoke else CHANGES, at_least=GROUP)
        report = audit_two_snapshots(RunStore(comparison.base, trust=EVERYTHING), scope)
        return [{**setup_columns(setup, comparison), **columns} for columns in _columns(report)]


def _columns(report: SnapshotReport) -> list[Row]:
    return [
        {
            "change": row.name,
            "group": row.group,
            "answers": answers,
            **_attack_columns(attack),
            "changed_classes": row.changed_classes,
            "changes": report.changes,
            "candidates": report.candidates,
        }
        for row in report.rows
        for answers, attack in zip(ANSWERS, (row.answers, row.labels_only), strict=True)
    ]


def _attack_columns(attack: SnapshotAttack) -> Row:
    figures = attack.figures
    return {
        "auc": figures.auc.value,
        "auc_low": figures.auc.low,
        "auc_high": figures.auc.high,
        "named": figures.named.value,
        "named_low": figures.named.low,
        "named_high": figures.named.high,
        "tpr_at_1_percent": figures.tpr_at_1_percent.value if figures.tpr_at_1_percent else None,
        "features": " and ".join(dict.fromkeys(attack.features)),
    }


def summary(rows: pd.DataFrame) -> str:
    mean = rows.groupby(["change", "group", "answers"])[["auc", "named"]].mean()
    probabilities, labels = ANSWERS

    def auc(change: str, group: int, answers: str) -> str:
        return f"{mean.loc[(change, group, answers), 'auc']:.2f}"

    def named(change: str, group: int) -> str:
        return f"{mean.loc[(change, group, probabilities), 'named']:.1%}"

    return (
        f"AUC alone and {GROUP} together: retrained {auc('retrained', 1, probabilities)} and "
        f"{auc('retrained', GROUP, probabilities)}, patched {auc('patched', 1, probabilities)} and "
        f"{auc('patched', GROUP, probabilities)}, control {auc('untouched', 1, probabilities)} and "
        f"{auc('untouched', GROUP, probabilities)}; rewound on acceptance {auc('accepted', 1, probabilities)}; without "
        f"probabilities, retrained {auc('retrained', 1, labels)} and {auc('retrained', GROUP, labels)}. One guess among "
        f"{int(rows['candidates'].iloc[0])} names the retrained sample in {named('retrained', 1)} and "
        f"{named('retrained', GROUP)}"
    )


def draw(rows: pd.DataFrame) -> Figure:
    """Draw the AUC of each kind of change, alone and in a group, with its interval."""
    figure, both = panels(1, 2, width=3.6, height=3.0, sharex=True, sharey=True)
    names = [name for name in SNAPSHOT_ROWS if name in set(rows["change"])]
    for axes, group in zip(both, (1, GROUP), strict=True):
        axes.axvline(0.5, color="0.4", ls="--", lw=1.0)
        for number, answers in enumerate(ANSWERS):
            part = rows[(rows["group"] == group) & (rows["answers"] == answers)]
            for seed, of_seed in enumerate(sorted(part["seed"].unique())):
                own = part[part["seed"] == of_seed]
                places = [names.index(name) + 0.26 * number - 0.13 + 0.12 * seed - 0.06 for name in own["change"]]
                axes.errorbar(
                    own["auc"],
                    places,
                    xerr=[own["auc"] - own["auc_low"], own["auc_high"] - own["auc"]],
                    fmt="os"[number],
                    color=PALETTE[number],
                    mfc=PALETTE[number] if number == 0 else "white",
                    ms=4.5,
                    lw=1.2,
                    label=answers if seed == 0 else None,
                )
        axes.set_title("deleted alone" if group == 1 else f"{group} deleted together")
        axes.set_xlabel("AUC; 0.5 is a guess")
    both[0].set_yticks(range(len(names)), [words(name) for name in names])
    both[0].invert_yaxis()
    figure.legend(*both[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


EXPERIMENT = Experiment(
    name="two_snapshots",
    doc=__doc__,
    results=("two_snapshots.csv",),
    summary=summary,
    figures={"two_snapshots": draw},
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure)
