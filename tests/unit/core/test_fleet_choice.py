"""Ray is chosen where it ends earlier although it has to be started."""

from raymu.core.fleet_choice import START_ACTORS_S, START_RAY_S, FleetWork, forecast_fleet


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
