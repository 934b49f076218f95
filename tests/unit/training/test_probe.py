"""What the probe finds before a run is trained, and what needs no finding because checkpoints and seeds have it."""

import re

import pytest

from raymu.training.probe import constant_tensors, few_samples, probe_training
from raymu.training.spec import TrainingSpec
from tests.support.shard_training import make_plan, make_samples
from tests.unit.training import stateful_code

HERE = "tests.unit.training.stateful_code"


def plan_of(name: str, args: dict[str, str], part: str = "model", workers: int = 1) -> TrainingSpec:
    component = {"factory": f"{HERE}:{name}", "args": args}
    branches = {"cluster": {"workers_per_shard": workers}}
    if part == "model":
        return make_plan(model=component, **branches)
    return make_plan(training={part: component}, **branches)


def probed(name: str, args: dict[str, str], part: str = "model", workers: int = 1) -> str:
    samples = make_samples()
    return "\n".join(probe_training(plan_of(name, args, part, workers), few_samples(samples.array, samples.labels)))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("name", "args"),
    [
        *(("warm", {"kind": kind}) for kind in ("persistent", "transient", "lazy", "registered", "extra")),
        *(
            ("drop", {"draw": draw})
            for draw in (
                "random",
                "numpy",
                "torch.Generator",
                "random.Random",
                "numpy.Generator",
                "RandomState",
                "a module's generator",
            )
        ),
        *((name, {}) for name in ("logging", "drawn", "squeezing", "no_statistics", "ghost")),
    ],
)
def test_code_whose_state_is_saved_or_seeded_passes(name: str, args: dict[str, str], workers: int) -> None:
    assert probed(name, args, workers=workers) == ""


@pytest.mark.parametrize(
    ("part", "name", "args", "line"),
    [
        ("model", "warm", {"kind": "attribute"}, "model.steps is 2 after a stage, and 0 in a model that is restored"),
        ("model", "warm", {"kind": "late"}, "model.steps is 2 after a stage"),
        ("model", "warm", {"kind": "tensor"}, "model.count is a tensor (.*) after a stage"),
        ("model", "of_class", {}, r"OfClass.steps is \d+ before one training and \d+ before the next"),
        ("model", "of_module", {}, "stateful_code.STEPS.0 is .* before the next: it outlives the model"),
        ("model", "hooked", {}, r"model._forward_hooks.0.steps is \d+ after a stage"),
        ("model", "remembering", {}, "model.last is a deque of 2 after a stage, and a deque of 0"),
        ("model", "centring", {}, r"model.mean is a tensor \(.*\) after a stage, and a tensor"),
        ("model", "averaged", {}, r"model.average.0.weight is a tensor \(.*\) after a stage, and a tensor"),
        ("model", "drop", {"draw": "os.urandom"}, "no seed reaches, such as os.urandom"),
        ("model", "drop", {"draw": "the time"}, "no seed reaches, such as os.urandom"),
        ("model", "drop", {"draw": "SystemRandom"}, "no seed reaches, such as os.urandom"),
        ("loss", "counting_loss", {}, "loss.per_sample.steps.0 is 2 after a stage, and 0 in"),
        ("optimizer", "stepped_sgd", {}, "optimizer.steps is 2 after a stage, and 0 in"),
    ],
)
def test_what_no_checkpoint_and_no_seed_reaches_is_named(part: str, name: str, args: dict[str, str], line: str) -> None:
    assert re.search(line, probed(name, args, part)), probed(name, args, part)


def test_tensors_that_a_module_draws_itself_are_recorded_and_those_that_training_changes_are_not() -> None:
    before = constant_tensors(plan_of("projecting", {}))
    [path] = before
    assert path.endswith("stateful_code.PROJECTION")
    drawn, stateful_code.PROJECTION = stateful_code.PROJECTION, stateful_code.PROJECTION + 1
    try:
        assert constant_tensors(plan_of("projecting", {})).keys() == before.keys()
        assert constant_tensors(plan_of("projecting", {})) != before
    finally:
        stateful_code.PROJECTION = drawn
    assert constant_tensors(plan_of("projecting", {})) == before
    assert not constant_tensors(plan_of("centring", {}))


PLACES = ("closure", "list", "dictionary", "global", "class", "default", "function", "count")


@pytest.mark.parametrize(
    ("where", "late"), [*((where, "large") for where in (*PLACES, "generator")), ("global", "fiftieth")]
)
def test_a_count_that_matters_only_later_is_named_wherever_it_is_kept(where: str, late: str) -> None:
    assert "does not have it; keep it in a buffer" in probed("counted", {"where": where, "late": late})


@pytest.mark.parametrize("where", PLACES)
def test_a_count_that_nothing_depends_on_passes(where: str) -> None:
    assert probed("counted", {"where": where, "late": "never"}) == ""
