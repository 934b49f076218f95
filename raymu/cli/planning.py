"""Commands that forecast, and that search for the hybrid boundary."""

from pathlib import Path
from typing import Any

import click

from raymu.api import open_run
from raymu.cli.group import cli
from raymu.cli.options import (
    address_option,
    json_option,
    named_revocation,
    parse_nonnegative,
    request_options,
    run_argument,
    show,
)
from raymu.config import Config
from raymu.config.unlearning import Strategy
from raymu.console import trial_progress
from raymu.console.study_tables import show_capacity, show_tuning
from raymu.core.planning.traffic import parse_traffic
from raymu.core.tuning import Constraints, Search, SearchSpace
from raymu.core.uri import basename, is_uri
from raymu.errors import RequestInvalid
from raymu.service.planning.capacity import plan_capacity
from raymu.service.planning.profile import profile
from raymu.service.tuning.report import require_feasible


@cli.command("plan")
@click.argument("place", metavar="RUN|CONFIG.yaml")
@request_options
@click.option("--workers", type=click.IntRange(min=1), help="Workers at hand; as many as trained the run by default.")
@click.option("--traffic", help="For CONFIG.yaml: requests to expect, such as uniform:50 or burst:200,size=20.")
@click.option(
    "--window",
    "window_s",
    type=parse_nonnegative,
    default=0.0,
    help="For --traffic: seconds that requests are gathered.",
)
@click.option(
    "--budget",
    "budget_s",
    type=parse_nonnegative,
    help="For --traffic: seconds of compute that all remedies may take; what sisa takes, as configured, by default.",
)
@click.option(
    "--deadline",
    "longest_s",
    type=parse_nonnegative,
    help="For --traffic: seconds that requests of one moment may take.",
)
@click.option("--out", "out_file", help="For --traffic: draw the curves into this PNG or SVG file.")
@json_option
def plan_command(
    place: str,
    workers: int | None,
    traffic: str | None,
    window_s: float,
    budget_s: float | None,
    longest_s: float | None,
    out_file: str | None,
    as_json: bool,
    **request: Any,
) -> None:
    """Forecast what a request would cost with each strategy, or what traffic would before anything is trained."""
    if traffic is None:
        asked = named_revocation(**request)
        with open_run(place) as run:
            forecast = run.plan(
                asked.ids, owner=asked.owner, strategy=asked.strategy, boundary=asked.boundary, workers=workers
            )
        show(as_json, forecast, lambda screen: screen.forecast(forecast))
        return
    if any(request.values()):
        raise RequestInvalid("give --traffic with CONFIG.yaml, or samples of a RUN, not both")
    config = Config.load(place)
    expected = plan_capacity(
        config,
        profile(config),
        parse_traffic(traffic),
        workers=workers or config.cluster.live_actors or config.partition.shards,
        window_s=window_s,
        budget_s=budget_s,
        longest_s=longest_s,
    )
    if out_file:
        from raymu.plots import plot_capacity  # matplotlib takes a second to import: only where it is used

        plot_capacity(expected, Path(out_file))
    show(as_json, expected, lambda screen: show_capacity(screen, expected))


@cli.command("tune")
@run_argument
@click.option("--traffic", help="Requests to expect, such as uniform:50 or burst:200,size=20.")
@click.option("--trace", help="Or a file of them, as CSV or Parquet: columns at, id or owner, request.")
@click.option("--data", "test", help="Labelled table; the configuration's test file by default.")
@click.option("--method", type=click.Choice(["grid", "random", "optuna"]), default="grid", show_default=True)
@click.option("--trials", type=click.IntRange(min=1), default=16, show_default=True)
@click.option("--strategy", "strategies", multiple=True, type=click.Choice(["hs", "ohs"]), help="May be given again.")
@click.option("--fine-tune-slices", multiple=True, type=click.IntRange(min=1), help="For ohs; may be given again.")
@click.option(
    "--window", "windows_s", multiple=True, type=parse_nonnegative, help="Seconds of batching; may be given again."
)
@click.option(
    "--most-lost", type=parse_nonnegative, default=0.5, show_default=True, help="Points of accuracy below retraining."
)
@click.option(
    "--most-debt", type=parse_nonnegative, help="Share of shards that may owe retraining at the end, such as 0.2."
)
@click.option("--most-error", type=parse_nonnegative, help="Forgetting error, in nats.")
@click.option("--most-p95", type=parse_nonnegative, help="Seconds until 95% of requests are repaired.")
@click.option("--workers", type=click.IntRange(min=1), help="Workers of the simulated clock.")
@click.option("--stop-early", is_flag=True, help="End trials that fall behind (ASHA).")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--out", "out_dir", help="Local folder for state and results; RUN-tuning by default. A search there goes on."
)
@click.option("--apply", "is_applied", is_flag=True, help="Make the chosen boundary the run's own.")
@address_option
@json_option
def tune_command(
    run_dir: str,
    traffic: str | None,
    trace: str | None,
    test: str | None,
    out_dir: str | None,
    workers: int | None,
    is_applied: bool,
    address: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Search for the hybrid boundary: the least compute that holds the constraints, on branches of the run."""
    run = open_run(run_dir, address=address)
    beside = basename(run_dir) if is_uri(run_dir) else run_dir.rstrip("/")
    out_dir = out_dir or f"{beside}-tuning"
    wanted, constraints = _search(run.config, **asked)
    with trial_progress("trials", is_shown=not as_json) as progress:
        report = run.tune(
            wanted,
            constraints,
            out=out_dir,
            traffic=traffic,
            trace=trace,
            test=test,
            workers=workers,
            progress=progress,
        )
    from raymu.plots import plot_pareto_front  # matplotlib takes a second to import: only where it is used

    out = Path(out_dir)
    plot_pareto_front(report, out / "front.png")
    show(as_json, report, lambda screen: show_tuning(screen, report, out))
    require_feasible(report)
    if is_applied:
        chosen = report.chosen.choice
        with run:
            run.configure(strategy=chosen.strategy, boundary=chosen.boundary, ohs={"slices": chosen.fine_tune_slices})


def _search(
    config: Config,
    *,
    method: Any,
    trials: int,
    strategies: tuple[Strategy, ...],
    fine_tune_slices: tuple[int, ...],
    windows_s: tuple[float, ...],
    most_lost: float,
    most_debt: float | None,
    most_error: float | None,
    most_p95: float | None,
    stop_early: bool,
    seed: int,
) -> tuple[Search, Constraints]:
    space = SearchSpace(
        strategies=tuple(map(Strategy, strategies)) or (Strategy.HS, Strategy.OHS),
        contributions=(config.unlearning.contributions,),
        fine_tune_slices=fine_tune_slices or (config.unlearning.ohs.slices,),
        windows_s=windows_s or (0.0,),
    )
    constraints = Constraints(
        most_lost_points=most_lost,
        most_debt_share=most_debt,
        most_forgetting_error=most_error,
        most_p95_s=most_p95,
    )
    return Search(space=space, method=method, trials=trials, seed=seed, stops_early=stop_early), constraints
