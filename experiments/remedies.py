"""How near does each remedy come to the retrained oracle, and at what cost?

Method: one shard of a run is trained with many seeds, and each model forgets 0.1% (at least four samples), 1% and 10% of its
samples by every remedy. The shard, the forget set and the other shards stay the same. There are 32 models for letter, 8 for
Fashion-MNIST, and 6 for shuttle and for MNIST, which is reduced to 24,000 samples. Four small CNNs on 6,000 images of
Fashion-MNIST forget 1% and 10%. Every remedy's models are compared with as many oracles of other seeds (KLoM, U-LiRA), and
each with the oracle of its own seed (distance). *Other seed* is the floor: oracles compared with oracles. *Untouched* does
nothing, and *control* fine-tunes only. Twenty samples are also forgotten one after the other (letter and MNIST, six models).
The learning rate ends at 0 in each stage. Costs are medians, in processor time of one thread, as shares of the exact
retraining in the same run; the two replays were measured in a second run, whose patches had the same bits.

Conclusion: where a hundredth of a shard or less is revoked, a patch by curvature comes as near to the oracle as an oracle of
another seed, at no loss of accuracy, and single requests one after the other leave about what one patch leaves. A gradient
step comes little nearer than doing nothing, and costs accuracy. Where a tenth is revoked, a patch of an MLP stays beyond the
floor. `ohs` replays the last stage from a checkpoint that a curvature step has corrected: it ends near the floor in both
cases, nearer than the same replay with gradients on all MLPs, and takes from a third to two thirds of retraining's time. KLoM
and U-LiRA compare distributions over many models, and with enough of them still see a patch that the distance does not.
Fine-tuning adds nothing: where the rate ends at zero, it stops at once. A patch of a small CNN costs as much as retraining
it, and so does a replay.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.harness import Experiment, Options, Row, map_concurrently, run_experiment
from experiments.markdown import table
from experiments.one_shard import Confidences, Method, OneShard, ShardModel, one_shard
from experiments.plots import baseline, legend, logarithmic_x, panels
from experiments.setups import DATA_SETS, Setup
from raymu.core.audit.forgetting import Forgetting, ModelConfidences, forgetting_of
from raymu.core.audit.signals import losses, probabilities
from raymu.core.records import Cost, Remedy
from raymu.plots import LOOKS
from raymu.training.audit.relearn_time import MAX_STEPS

SHARES = {"0.1%": 0.001, "1%": 0.01, "10%": 0.1}
FEWEST = 4
"""Fewest samples of a forget set."""
BULK, SINGLES, AT_ONCE = "1%", "20 singles", "20 at once"
REQUESTS = 20
MODELS = {"letter": 32, "fashion-mnist": 8}
FEW_MODELS, CNN_MODELS = 6, 4
"""Models of the other data sets and of single requests, and CNNs."""
CNN_DATA = "fashion-mnist"
SAMPLES, CNN_SAMPLES = {"mnist": 24000}, 6000
CNN_SHARES = ("1%", "10%")
RELEARNED = 4
"""Number of models whose relearning is counted."""
SEEDS_OF_A_JOB = 4
LARGE = 14000
"""Samples of a large shard, whose costs are bounded."""
UNTOUCHED, CONTROL, OTHER, EXACT = "untouched", "control", "other seed", "exact"
METHODS = {
    "dpus": Method(remedy=Remedy.PATCH),
    "dpus, K-FAC": Method(remedy=Remedy.PATCH, unlearning={"curvature": {"iterations": 0, "steps": 1}}),
    "dpus, gradient": Method(remedy=Remedy.PATCH, unlearning={"contributions": "gradient"}),
    "ohs": Method(remedy=Remedy.REPLAY),
    "ohs, fine-tune": Method(remedy=Remedy.FINE_TUNE, unlearning={"ohs": {"remedy": "fine_tune"}}),
    "ohs, gradient": Method(remedy=Remedy.REPLAY, unlearning={"contributions": "gradient"}),
}
REMEDIES = (CONTROL, "dpus, gradient", "dpus, K-FAC", "dpus", "ohs, fine-tune", "ohs, gradient", "ohs", EXACT)
LEAST_SHARE = 0.1
"""Left end of the axis of cost, in percent."""
TITLES = {"letter": "letter", "shuttle": "shuttle", "mnist": "MNIST", "fashion-mnist": "Fashion-MNIST"}
RATIOS = {"distance_ratio": "distance", "klom_ratio": "KLoM", "gaussian_klom_ratio": "Gaussian KLoM"}
ONE_BY_ONE = ("dpus",)
"""Methods that are also measured on single requests."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    setup: Setup
    seeds: range

    def __str__(self) -> str:
        return f"{self.setup.data} {self.setup.model}, models {self.seeds.start} to {self.seeds.stop - 1}"


def measure(options: Options) -> list[Row]:
    cnns = options.setups(seeds=1, model="cnn", samples={CNN_DATA: CNN_SAMPLES})
    setups = [*options.setups(seeds=1, samples=SAMPLES), *(setup for setup in cnns if setup.data == CNN_DATA)]
    jobs = [
        Job(setup=setup, seeds=range(first, min(first + SEEDS_OF_A_JOB, models)))
        for setup in setups
        for models in [model_count(setup)]
        for first in range(0, models, SEEDS_OF_A_JOB)
    ]
    models = pd.DataFrame(map_concurrently(measure_models, jobs, options))
    names = ["data", "model", "scenario"]
    return [
        row
        for (data, model, scenario), measured in models.groupby(names, sort=False)
        for row in rows_of({"data": data, "model": model, "scenario": scenario}, measured)
    ]


def model_count(setup: Setup) -> int:
    if setup.is_smoke:
        return 3
    return CNN_MODELS if setup.model == "cnn" else MODELS.get(setup.data, FEW_MODELS)


def measure_models(job: Job) -> list[Row]:
    """Measure every remedy on the models of some seeds. Returns a row for each seed, scenario and method."""
    shard = one_shard(job.setup)
    return [row for seed in job.seeds for row in _measure_seed(shard, job.setup, seed)]


def _measure_seed(shard: OneShard, setup: Setup, seed: int) -> Iterator[Row]:
    before = shard.train(seed)
    for scenario, size in scenarios(shard, setup, seed).items():
        is_forgotten = shard.forgotten(size)
        requests = shard.singles(size) if scenario == SINGLES else [is_forgotten]
        measured = {
            UNTOUCHED: ShardModel(payload=before.payload, cost=Cost(passes=0.0, seconds=0.0)),
            CONTROL: shard.control(before, seed, is_forgotten),
            EXACT: shard.retrain(before, seed, is_forgotten),
            # The shard trained without the samples by a seed that no other model has.
            OTHER: shard.train(model_count(setup) + seed, shard.samples.where(~is_forgotten)),
        }
        for name, method in METHODS.items():
            if scenario != SINGLES or name in ONE_BY_ONE:
                measured[name] = shard.repair(before, seed, requests, method)
        is_relearned = scenario in (BULK, SINGLES, AT_ONCE) and seed < RELEARNED
        target = float(losses(shard.confidences(before, is_forgotten).forget).mean())
        for name, model in measured.items():
            steps = None
            if is_relearned:
                counted = shard.relearning_steps(model, seed, is_forgotten, target=target)
                steps = MAX_STEPS if counted is None else counted
            yield {
                "data": setup.data,
                "model": setup.model,
                "scenario": scenario,
                "samples": len(shard.samples),
                "forgotten": size,
                "seed": seed,
                "method": name,
                "confidences": shard.confidences(model, is_forgotten),
                "passes": model.cost.passes,
                "seconds": model.cost.seconds,
                "relearning_steps": steps,
                "retrained": model.retrained,
            }


def scenarios(shard: OneShard, setup: Setup, seed: int) -> Mapping[str, int]:
    """Return the size of each scenario's forget set."""
    sizes = {name: max(FEWEST, round(share * len(shard.samples))) for name, share in SHARES.items()}
    if setup.model == "cnn":
        return {name: sizes[name] for name in CNN_SHARES}
    if setup.data in ("letter", "mnist") and seed < FEW_MODELS:
        sizes |= dict.fromkeys((AT_ONCE, SINGLES), 4 if setup.is_smoke else REQUESTS)
    return sizes


def rows_of(columns: Row, models: pd.DataFrame) -> Iterator[Row]:
    """Summarise the models of one scenario: a row for each method."""
    by_method = {str(name): measured.sort_values("seed") for name, measured in models.groupby("method", sort=False)}
    exact, others = (by_method[name] for name in (EXACT, OTHER))
    floor = _forgetting(exact, paired=others, others=others)
    accuracies = np.array([kept.accuracy for kept in exact["confidences"]])
    for name, measured in by_method.items():
        record = floor if name == OTHER else _forgetting(measured, paired=exact, others=others)
        gap = np.abs(_forget_probabilities(measured) - _forget_probabilities(exact)).mean(axis=1)
        lost = accuracies - np.array([kept.accuracy for kept in measured["confidences"]])
        yield {
            **columns,
            "samples": int(measured["samples"].iloc[0]),
            "forgotten": int(measured["forgotten"].iloc[0]),
            "method": name,
            **_columns_of(record, floor),
            "distance_deviation": float(gap.std(ddof=1)),
            "accuracy_lost": float(lost.mean()),
            "accuracy_lost_deviation": float(lost.std(ddof=1)),
            "share_of_passes": record.cost.passes / exact["passes"].median(),
            "share_of_seconds": record.cost.seconds / exact["seconds"].median(),
            "retrained": int(measured["retrained"].sum()),
        }


def _forgetting(measured: pd.DataFrame, *, paired: pd.DataFrame, others: pd.DataFrame) -> Forgetting:
    steps = measured["relearning_steps"].dropna()
    return forgetting_of(
        _stacked(measured),
        paired=_stacked(paired),
        oracles=_stacked(others),
        accuracy=float(np.mean([kept.accuracy for kept in measured["confidences"]])),
        cost=Cost(passes=float(measured["passes"].median()), seconds=float(measured["seconds"].median())),
        relearning_steps=float(steps.mean()) if len(steps) else None,
        seed=0,
    )


def _stacked(measured: pd.DataFrame) -> ModelConfidences:
    kept: list[Confidences] = measured["confidences"].tolist()
    return ModelConfidences(
        forget=np.stack([each.forget for each in kept]),
        retained=np.stack([each.retained for each in kept]),
        test=np.stack([each.test for each in kept]),
    )


def _forget_probabilities(measured: pd.DataFrame) -> np.ndarray:
    return probabilities(_stacked(measured).forget)


def _columns_of(record: Forgetting, floor: Forgetting) -> Row:
    ratio = record.over_floor(floor)
    columns: Row = {"models": record.models}
    for kind in ("forget", "retained", "test"):
        distance = getattr(record, kind)
        columns |= {
            f"{kind}_distance": distance.paired,
            f"{kind}_klom": distance.klom.mean,
            f"{kind}_klom_p95": distance.klom.p95,
            f"{kind}_gaussian_klom": distance.gaussian_klom.mean,
            f"{kind}_gaussian_klom_p95": distance.gaussian_klom.p95,
        }
    return columns | {
        **{f"lira_{name}": value for name, value in asdict(record.lira).items()},
        "relearning_steps": record.relearning_steps,
        "accuracy": record.accuracy,
        "passes": record.cost.passes,
        "seconds": record.cost.seconds,
        "distance_ratio": ratio.paired,
        "klom_ratio": ratio.klom,
        "gaussian_klom_ratio": ratio.gaussian_klom,
    }


def summary(rows: pd.DataFrame) -> str:
    cells = []
    for (data, model), measured in rows.query("scenario == @BULK").groupby(["data", "model"], sort=False):
        by_method = measured.set_index("method")
        patched, untouched = by_method.loc["dpus"], by_method.loc[UNTOUCHED]
        cells.append(
            f"{data}, {str(model).upper()}: {patched['distance_ratio']:.2f} (untouched {untouched['distance_ratio']:.2f}) at "
            f"{patched['share_of_seconds']:.1%} of the seconds"
        )
    return f"distance of dpus on the forget set, 1% revoked, as a multiple of the floor: {'; '.join(cells)}"


def remedies_table(rows: pd.DataFrame) -> str:
    """Write the ruler's figures for each scenario and method."""
    lines = []
    for row in rows.to_dict("records"):
        steps = row["relearning_steps"]
        lines.append(
            [
                f"{row['data']}, {row['model'].upper()}",
                row["scenario"],
                row["method"],
                f"{row['forget_distance']:.4f}",
                f"{row['distance_ratio']:.2f}",
                f"{row['forget_klom']:.2f} / {row['forget_klom_p95']:.1f}",
                f"{row['forget_gaussian_klom']:.2f} / {row['forget_gaussian_klom_p95']:.1f}",
                f"{row['gaussian_klom_ratio']:.2f}",
                f"{row['lira_value']:.2f} ({row['lira_low']:.2f} to {row['lira_high']:.2f})",
                f"{row['retained_distance']:.3f} / {row['test_distance']:.3f}",
                "" if np.isnan(steps) else f"{steps:.0f}",
                f"{100.0 * row['accuracy']:.2f}",
                f"{round(100.0 * row['accuracy_lost'], 2) + 0.0:+.2f} ± {row['accuracy_lost_deviation'] * 100.0:.2f}",
                f"{row['share_of_passes']:.1%}",
                f"{row['share_of_seconds']:.1%}",
            ]
        )
    header = [
        "",
        "revoked",
        "",
        "distance",
        "x floor",
        "KLoM",
        "Gaussian",
        "x floor",
        "U-LiRA",
        "retained / test",
        "steps",
        "test, %",
        "points lost",
        "passes",
        "seconds",
    ]
    return table(header, lines, numbers_from=3)


def readme_table(rows: pd.DataFrame) -> str:
    """Write how near each method comes on one data set, and what it costs."""
    images = rows.query("data == 'fashion-mnist' and model == 'mlp'")
    lines = []
    for method in (UNTOUCHED, *REMEDIES):
        cells = [method]
        for scenario in ("1%", "10%"):
            row = images[(images["method"] == method) & (images["scenario"] == scenario)].iloc[0]
            cells += [
                f"{row['distance_ratio']:.2f}",
                f"{row['lira_value']:.2f} ({row['lira_low']:.2f} to {row['lira_high']:.2f})",
                f"{round(100.0 * row['accuracy_lost'], 2) + 0.0:+.2f}",
                f"{100.0 * row['share_of_seconds']:.1f}",
            ]
        lines.append(cells)
    columns = ("distance, x floor", "U-LiRA", "points lost", "seconds, %")
    return table(["", *(f"{scenario}: {column}" for scenario in ("1%", "10%") for column in columns)], lines)


def aims_table(rows: pd.DataFrame) -> str:
    """Write what patches were to show, what was measured on each data set and model, and whether all of them reach it."""
    lines = []
    for share, most in (("0.1%", 1.0), ("1%", 1.0), ("10%", 1.5)):
        for column, name in RATIOS.items():
            aim = f"dpus, {share}: {name} on the forget set at most {most}x the floor"
            lines.append(_aim(rows, share, aim, _value_of(column), most=most))
        aim = f"dpus, {share}: distance at most 0.6 of untouched's, where that is above the floor"
        lines.append(_aim(rows, share, aim, _share_of_untouched, most=0.6))
    for share in ("1%", "10%"):
        for method in ("ohs", "dpus"):
            aim = f"{method}, {share}: nearer than replay with gradients (distance, as a share of replay's)"
            lines.append(_aim(rows, share, aim, _ratio_of("forget_distance", method, "ohs, gradient"), most=1.0))
            aim = f"{method}, {share}: a fifth of that replay's seconds"
            lines.append(_aim(rows, share, aim, _ratio_of("share_of_seconds", method, "ohs, gradient"), most=0.2))
    for share, most in (("1%", 0.2), ("10%", 0.3)):
        aim = f"dpus, {share}: at most {most} points of accuracy lost"
        lines.append(_aim(rows, share, aim, _value_of("accuracy_lost", scale=100.0), most=most))
    large = rows[rows["samples"] >= LARGE]
    aim = "dpus, 1%: at most 10% of retraining's seconds (shards of 15,000 samples)"
    lines.append(_aim(large, "1%", aim, _value_of("share_of_seconds", scale=100.0), most=10.0))
    aim = "K-FAC alone, 1%: at most 2% of retraining's seconds (shards of 15,000 samples)"
    lines.append(_aim(large, "1%", aim, _value_of("share_of_seconds", "dpus, K-FAC", scale=100.0), most=2.0))
    for kind in ("retained", "test"):
        for share in ("1%", "10%"):
            aim = f"dpus, {share}: distance on {kind} samples at most 1.2x untouched's"
            lines.append(_aim(rows, share, aim, _ratio_of(f"{kind}_distance", "dpus", UNTOUCHED), most=1.2))
    aim = "dpus, 1%: the interval of U-LiRA's accuracy contains 0.5 (its lower end)"
    lines.append(_aim(rows, "1%", aim, _value_of("lira_low"), most=0.5))
    aim = "dpus: twenty single requests no farther than one patch of twenty (distance, as a share of that one's)"
    lines.append(_aim_of_singles(rows, aim, most=1.0))
    return table(["aim", "measured", ""], lines, numbers_from=3)


Measure = Callable[[pd.DataFrame], float | None]
"""Computes a value from the rows of one scenario, by method; None where an aim says nothing."""


def _aim(rows: pd.DataFrame, scenario: str, aim: str, measure: Measure, *, most: float) -> list[str]:
    cells, is_reached = [], True
    for (data, model), measured in rows[rows["scenario"] == scenario].groupby(["data", "model"], sort=False):
        value = measure(measured.set_index("method"))
        if value is not None:
            cells.append(f"{TITLES[str(data)]}{', CNN' if model == 'cnn' else ''} {value:.2f}")
            is_reached &= value <= most
    return [aim, "; ".join(cells), _reached(is_reached) if cells else "not measured"]


def _reached(is_reached: bool) -> str:
    return "reached" if is_reached else "not reached"


def _value_of(column: str, method: str = "dpus", *, scale: float = 1.0) -> Measure:
    return lambda rows: scale * float(rows.loc[method, column])


def _ratio_of(column: str, method: str, baseline: str) -> Measure:
    return lambda rows: float(rows.loc[method, column] / rows.loc[baseline, column])


def _share_of_untouched(rows: pd.DataFrame) -> float | None:
    distance = rows["forget_distance"]
    return float(distance["dpus"] / distance[UNTOUCHED]) if distance[UNTOUCHED] > distance[OTHER] else None


def _aim_of_singles(rows: pd.DataFrame, aim: str, *, most: float) -> list[str]:
    distances = rows[rows["method"] == "dpus"].pivot_table(
        index=["data", "model"], columns="scenario", values="forget_distance"
    )
    shares = (distances[SINGLES] / distances[AT_ONCE]).dropna()
    cells = [f"{TITLES[str(data)]} {value:.2f}" for (data, _), value in shares.items()]
    return [aim, "; ".join(cells), _reached(bool((shares <= most).all()))]


def draw(rows: pd.DataFrame) -> Figure:
    """Draw cost against distance for two data sets and two shares."""
    measured = rows["data"].unique()
    names = [name for name in ("letter", CNN_DATA) if name in measured] or [measured[0]]
    chosen = [(data, scenario) for scenario in ("1%", "10%") for data in names]
    figure, axes = panels(2, len(chosen) // 2, width=4.4, height=3.1, sharex=True)
    for panel, (data, scenario) in zip(axes, chosen, strict=True):
        by_method = rows.query("data == @data and model == 'mlp' and scenario == @scenario").set_index("method")
        _draw_cost(panel, by_method)
        panel.set_title(f"{TITLES[data]}, {scenario} of a shard revoked", loc="left")
    for panel in axes[-len(chosen) // 2 :]:
        panel.set_xlabel("compute, % of exact retraining")
    for panel in axes[:: len(chosen) // 2]:
        panel.set_ylabel("distance on the forget set")
    legend(figure, axes)
    return figure


def draw_strategies(rows: pd.DataFrame) -> Figure:
    """Draw what the strategies' remedies cost and how near they come, on one data set: the README's figure."""
    measured = rows["data"].unique()
    data = CNN_DATA if CNN_DATA in measured else measured[0]
    by_method = rows.query("data == @data and model == 'mlp' and scenario == @BULK").set_index("method")
    names = {
        EXACT: "retrain (sisa)",
        "ohs": "patch and replay (ohs)",
        "dpus": "patch (dpus)",
        "control": "control: only fine-tunes",
        UNTOUCHED: "untouched: does nothing",
    }
    figure, (cost, distance) = panels(1, 2, width=4.4, height=2.3, sharey=True)
    floor = float(by_method.loc[OTHER, "forget_distance"])
    for place, name in enumerate(names):
        row, colour = by_method.loc[name], LOOKS[name].colour
        seconds = 100.0 * float(row["share_of_seconds"])
        cost.barh(place, seconds, height=0.6, color=colour)
        cost.annotate(f" {seconds:.0f}%", (seconds, place), va="center")
        ratio, spread = float(row["distance_ratio"]), float(row["distance_deviation"]) / floor
        distance.barh(place, ratio, height=0.6, color=colour, xerr=spread, error_kw={"lw": 1.0, "capsize": 2.0})
        label = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        distance.annotate(
            f"{ratio:.2f}", (ratio + spread, place), (5, 0), textcoords="offset points", va="center", bbox=label
        )
    distance.axvline(1.0, lw=1.2, **baseline(OTHER))
    distance.annotate(
        "floor: another seed", (1.0, -0.62), color=LOOKS[OTHER].colour, xytext=(4, 0), textcoords="offset points"
    )
    cost.set_yticks(range(len(names)), list(names.values()))
    cost.set_ylim(len(names) - 0.4, -1.0)
    cost.set_xlim(0, 118)
    distance.set_xlim(0, 1.15 * distance.dataLim.x1)
    cost.set_title(f"{TITLES[data]}, {BULK} of a shard revoked", loc="left")
    cost.set_xlabel("seconds, % of retraining")
    distance.set_xlabel("distance from the retrained model, x floor")
    for panel in (cost, distance):
        panel.grid(visible=False, axis="y")
    return figure


def draw_all(rows: pd.DataFrame) -> Figure:
    """Draw the distance of every method as a multiple of the floor, for all data sets and models."""
    groups = list(rows[rows["scenario"].isin(["1%", "10%"])].groupby(["data", "model", "scenario"], sort=False))
    figure, (axes,) = panels(1, 1, width=8.4, height=0.9 + 0.34 * len(groups))
    drawn = (UNTOUCHED, *(name for name in REMEDIES if name not in (EXACT, "dpus")), "dpus")
    for place, (_, measured) in enumerate(groups):
        by_method = measured.set_index("method")["distance_ratio"][list(drawn)]
        axes.plot([by_method.min(), by_method.max()], [place, place], color="#dddddd", lw=1.0, zorder=0)
        for name in drawn:
            colour, marker = LOOKS[name].colour, LOOKS[name].marker
            size = 5 if name == "dpus" else 7
            axes.plot(by_method[name], place, marker, color=colour, ms=size, label=None if place else name)
    axes.axvline(1.0, lw=1.0, **baseline(OTHER), label="floor: an oracle of another seed")
    axes.set_yticks(
        range(len(groups)),
        [f"{TITLES[data]}, {model.upper()}, {scenario}" for (data, model, scenario), _ in groups],
    )
    axes.invert_yaxis()
    logarithmic_x(axes, (0.5, 1.0, 2.0, 5.0, 10.0, 20.0))
    axes.set_xlabel("distance from the oracle on the forget set, as a multiple of the floor")
    axes.grid(visible=False, axis="y")
    legend(figure, [axes])
    return figure


def _draw_cost(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw every remedy as a point. Within the band a model is as near as an exact retraining with another seed."""
    levels = rows["forget_distance"]
    axes.axhspan(0.0, levels[OTHER], color=LOOKS[OTHER].colour, alpha=0.08, lw=0)
    for name, words in ((OTHER, "floor: an oracle of another seed"), (UNTOUCHED, "untouched")):
        colour, is_higher = LOOKS[name].colour, levels[name] == levels[[OTHER, UNTOUCHED]].max()
        axes.axhline(levels[name], color=colour, lw=1.2, ls=LOOKS[name].line, zorder=1)
        axes.annotate(
            words,
            (0.015, levels[name]),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3 if is_higher else -3),
            textcoords="offset points",
            va="bottom" if is_higher else "top",
            fontsize=8,
            color=colour,
        )
    for name in REMEDIES:
        colour, marker = LOOKS[name].colour, LOOKS[name].marker
        row = rows.loc[name]
        share = max(100.0 * row["share_of_seconds"], LEAST_SHARE)
        is_exact = name == EXACT
        axes.errorbar(
            share,
            row["forget_distance"],
            yerr=None if is_exact else row["distance_deviation"],
            elinewidth=1.0,
            capsize=2,
            clip_on=not is_exact,
            color=colour,
            marker=marker,
            ms=9 if is_exact or name == "dpus" else 7,
            ls="none",
            label=name,
        )
    axes.set_ylim(0.0, 1.25 * max(levels[[CONTROL, UNTOUCHED, OTHER]].max(), levels[["dpus", "ohs"]].max()))
    axes.set_xlim(LEAST_SHARE, 160.0)
    logarithmic_x(axes, (LEAST_SHARE, 1.0, 10.0, 100.0))
    axes.grid(visible=False)


EXPERIMENT = Experiment(
    name="remedies",
    doc=__doc__,
    results=("remedies.csv",),
    summary=summary,
    figures={"remedies-strategies": draw_strategies, "remedies": draw, "remedies-all": draw_all},
    tables={"remedies": remedies_table, "patch_aims": aims_table, "nearness": readme_table},
)

if __name__ == "__main__":
    run_experiment(EXPERIMENT, measure, data=tuple(DATA_SETS))
