"""Ray is chosen where it ends earlier although it has to be started."""

import pytest

from raymu.core.fleet_choice import START_ACTORS_S, START_RAY_S, FleetWork, forecast_fleet, free_cpus


def test_little_work_is_done_in_this_process() -> None:
    choice = forecast_fleet(FleetWork(shards=8, seconds=3.0), workers=8)
    assert (choice.fleet, choice.is_forecast) == ("local", True)
    assert "3.0 s of work" in str(choice)


def test_much_work_on_several_shards_is_done_on_ray() -> None:
    assert forecast_fleet(FleetWork(shards=8, seconds=600.0), workers=4).fleet == "ray"


def test_one_shard_or_one_worker_gains_nothing_from_ray() -> None:
    assert forecast_fleet(FleetWork(shards=1, seconds=600.0), workers=4).fleet == "local"
    assert forecast_fleet(FleetWork(shards=8, seconds=600.0), workers=1).fleet == "local"
    assert forecast_fleet(FleetWork(shards=0, seconds=0.0), workers=4).fleet == "local"


def test_the_choice_changes_where_the_start_is_worth_it() -> None:
    start_s = START_RAY_S + START_ACTORS_S
    assert forecast_fleet(FleetWork(shards=2, seconds=1.9 * start_s), workers=2).fleet == "local"
    assert forecast_fleet(FleetWork(shards=2, seconds=2.1 * start_s), workers=2).fleet == "ray"


@pytest.mark.parametrize(
    ("usable", "machine", "load", "free"),
    [
        (2, 2, 0.3, 2.0),  # nobody else computes
        (2, 2, 1.0, 2.0),  # only this process does
        (2, 2, 9.0, 1.0),  # others take all: this process still gets its part
        (64, 64, 21.0, 44.0),
        (4, 64, 33.0, 2.0),  # half of the machine is taken, and so half of the part that this process may use
    ],
)
def test_the_cpus_that_others_compute_on_are_not_free(usable: int, machine: int, load: float, free: float) -> None:
    assert free_cpus(usable=usable, machine=machine, load=load) == free
