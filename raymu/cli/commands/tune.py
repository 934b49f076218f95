"""`raymu tune`."""

from pathlib import Path
from typing import Any

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import address_option, json_option, open_run, run_argument, show, trust_option
from raymu.cli.parameter_types import DIRECTORY, FILE, MODELS, NATURAL, POINTS, POSITIVE, RATIO, SECONDS, SHARE
from raymu.config import Config, limits
from raymu.config.unlearning import Contributions, Strategy
from raymu.console.planning_tables import show_tuning
from raymu.console.progress import phase_progress
from raymu.core.forgetting_error import FEWEST_ORACLES, ORACLES
from raymu.core.tuning import Constraints, Search, SearchSpace
from raymu.core.uri import basename, is_uri
from raymu.plots import plot_pareto_front, save_figure
from raymu.service.tuning.report import require_feasible


@click.command(
    "tune", cls=RaymuCommand, example="raymu tune runs/letter --traffic uniform:50 --max-accuracy-loss 0.5 --apply"
)
@run_argument
@click.option("--traffic", metavar="TRAFFIC", help="The requests to expect, as uniform:50 or burst:200,size=20.")
@click.option(
    "--trace-file",
    type=FILE,
    help="The requests to replay instead: a CSV or Parquet file with the columns at, id or owner, request.",
)
@click.option("--test-data", type=FILE, help="A labelled table. By default, the test file of the configuration.")
@click.option(
    "--method",
    type=click.Choice(["grid", "random", "optuna"]),
    default="grid",
    show_default=True,
    help="How the search chooses what it tries.",
)
@click.option("--trials", type=MODELS, default=16, show_default=True, help="The number of trials.")
@click.option(
    "--strategy",
    "strategies",
    multiple=True,
    type=click.Choice(["hs", "ohs"]),
    help="Try this strategy. Repeat it for more. By default, both are tried.",
)
@click.option(
    "--contributions",
    multiple=True,
    type=click.Choice([name.value for name in Contributions]),
    help="Try these contributions. Repeat it for more. By default, the run's own are tried.",
)
@click.option(
    "--fine-tune-slices",
    multiple=True,
    type=POSITIVE,
    help="For ohs: fine-tune on so many last slices, or replay so many last stages. Repeat it for more.",
)
@click.option(
    "--batch-window", "windows_s", multiple=True, type=SECONDS, help="Try this batch window. Repeat it for more."
)
@click.option(
    "--max-accuracy-loss",
    type=POINTS,
    default=0.5,
    show_default=True,
    help="The percentage points of test accuracy that may be lost compared with retraining.",
)
@click.option("--max-debt", type=SHARE, help="The share of shards that may be in debt at the end, such as 0.2.")
@click.option(
    "--max-forgetting-error",
    type=RATIO,
    help="The largest forgetting error. 1 is as near to the retrained oracle as one of another seed is.",
)
@click.option(
    "--max-klom-error",
    type=RATIO,
    help="The same by KLoM, which gives a few well remembered samples more weight, and varies more.",
)
@click.option("--max-p95", type=SECONDS, help="The time within which 95% of the requests have to be repaired.")
@click.option(
    "--oracles",
    metavar="N",
    type=click.IntRange(min=FEWEST_ORACLES, max=limits.MAX_MODELS),
    default=ORACLES,
    show_default=True,
    help="The number of oracles with other seeds, which the forgetting error is measured by.",
)
@click.option("--workers", type=POSITIVE, help="The number of workers. By default, as many as trained the run.")
@click.option("--stop-early", is_flag=True, help="Stop trials that fall behind (ASHA).")
@click.option("--seed", type=NATURAL, default=0, show_default=True, help="The seed of the search.")
@click.option(
    "--out",
    "out_dir",
    type=DIRECTORY,
    help="The local folder for results, where an interrupted search is resumed. By default, RUN-tuning.",
)
@click.option("--apply", "is_applied", is_flag=True, help="Configure the run with the best choice.")
@trust_option
@address_option
@json_option
def command(
    run_dir: str,
    traffic: str | None,
    trace_file: str | None,
    test_data: str | None,
    out_dir: str | None,
    oracles: int,
    workers: int | None,
    is_applied: bool,
    address: str | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Search for the best hybrid boundary.

    The best choice takes the least compute of all that meet the limits. Each trial carries out the requests on a branch
    of the run, which itself is not changed unless you give --apply.
    """
    run = open_run(run_dir, address=address)
    out = Path(out_dir or f"{basename(run_dir) if is_uri(run_dir) else run_dir.rstrip('/')}-tuning")
    search, constraints = _search(run.config, **settings)
    with phase_progress("trials", is_shown=not as_json) as (progress, _):
        report = run.tune(
            search,
            constraints,
            out=out_dir or out,
            traffic=traffic,
            trace=trace_file,
            test=test_data,
            workers=workers,
            oracles=oracles,
            progress=progress,
        )
    save_figure(plot_pareto_front(report), out / "front.png")
    show(as_json, report, lambda screen: show_tuning(screen, report, out))
    require_feasible(report)
    if is_applied:
        choice = report.chosen.choice
        with run:
            run.configure(
                strategy=choice.strategy,
                boundary=choice.boundary,
                contributions=choice.contributions,
                ohs={"slices": choice.fine_tune_slices},
            )


def _search(
    config: Config,
    *,
    method: Any,
    trials: int,
    strategies: tuple[Strategy, ...],
    contributions: tuple[Contributions, ...],
    fine_tune_slices: tuple[int, ...],
    windows_s: tuple[float, ...],
    max_accuracy_loss: float,
    max_debt: float | None,
    max_forgetting_error: float | None,
    max_klom_error: float | None,
    max_p95: float | None,
    stop_early: bool,
    seed: int,
) -> tuple[Search, Constraints]:
    """Return what the options say about the search, and about its limits."""
    space = SearchSpace(
        strategies=tuple(map(Strategy, strategies)) or (Strategy.HS, Strategy.OHS),
        contributions=tuple(map(Contributions, contributions)) or (config.unlearning.contributions,),
        fine_tune_slices=fine_tune_slices or (config.unlearning.ohs.slices,),
        windows_s=windows_s or (0.0,),
    )
    constraints = Constraints(
        most_lost_points=max_accuracy_loss,
        most_debt_share=max_debt,
        most_forgetting_error=max_forgetting_error,
        most_klom_error=max_klom_error,
        most_p95_s=max_p95,
    )
    return Search(space=space, method=method, trials=trials, seed=seed, stops_early=stop_early), constraints
