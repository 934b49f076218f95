"""`raymu simulate`."""

from pathlib import Path

import click

from raymu.cli.command import RaymuCommand
from raymu.cli.options import json_option, show
from raymu.cli.parameter_types import FILE, POSITIVE, RATIO, SECONDS
from raymu.config import Config
from raymu.console.planning_tables import show_capacity
from raymu.core.planning.recommendation import PATCH_ERROR
from raymu.core.planning.traffic import parse_traffic
from raymu.output_file import check_output_path, require_ending
from raymu.service.planning.capacity import plan_capacity
from raymu.service.planning.profile import profile


@click.command("simulate", cls=RaymuCommand, example="raymu simulate letter.yaml --traffic uniform:50 --out costs.png")
@click.argument("config_file", metavar="CONFIG", type=FILE)
@click.option(
    "--traffic", required=True, metavar="TRAFFIC", help="The requests to expect, as uniform:50 or burst:200,size=20."
)
@click.option("--workers", type=POSITIVE, help="The number of workers. By default, one for each shard.")
@click.option(
    "--batch-window",
    "window_s",
    type=SECONDS,
    default=0.0,
    help="Collect requests for so long, and serve them together.",
)
@click.option(
    "--budget",
    "budget_s",
    type=SECONDS,
    help="The compute that all remedies may take. By default, half of what sisa takes with the configured layout, or the "
    "least that keeps the forgetting error.",
)
@click.option(
    "--deadline", "longest_s", type=SECONDS, help="The time that requests which arrive together may take on average."
)
@click.option(
    "--patch-error",
    type=RATIO,
    default=PATCH_ERROR,
    show_default=True,
    help="The forgetting error that a patch has, as a multiple of the floor. `raymu tune` measures it on a run.",
)
@click.option(
    "--max-forgetting-error",
    "most_forgetting_error",
    type=RATIO,
    help="The largest mean forgetting error of the requests. One that is retrained counts 0.",
)
@click.option("--out", "out_file", type=FILE, help="Draw the costs into this PNG, SVG or PDF file.")
@json_option
def command(
    config_file: str,
    traffic: str,
    workers: int | None,
    window_s: float,
    budget_s: float | None,
    longest_s: float | None,
    patch_error: float,
    most_forgetting_error: float | None,
    out_file: str | None,
    as_json: bool,
) -> None:
    """Forecast traffic before anything is trained.

    Every strategy is simulated with the configured layout, and a layout and a boundary are recommended. A few short
    epochs measure the speed of this machine.
    """
    if out_file:
        require_ending(out_file, (".png", ".svg", ".pdf"))
        check_output_path(out_file, reads={"the configuration": config_file})
    config = Config.load(config_file)
    plan = plan_capacity(
        config,
        profile(config),
        parse_traffic(traffic),
        workers=workers or config.cluster.live_actors or config.partition.shards,
        window_s=window_s,
        budget_s=budget_s,
        longest_s=longest_s,
        patch_error=patch_error,
        most_forgetting_error=most_forgetting_error,
    )
    if out_file:
        from raymu.plots import plot_capacity, save_figure

        save_figure(plot_capacity(plan), Path(out_file))
    show(as_json, plan, lambda screen: show_capacity(screen, plan))
