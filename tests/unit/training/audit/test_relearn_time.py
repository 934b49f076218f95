import pytest

from raymu.core.audit.signals import losses
from raymu.training.audit.relearn_time import MAX_STEPS, relearning_steps
from raymu.training.audit.samples import AuditSamples, ModelKind
from raymu.training.audit.shadow_models import AuditedModel, train_model
from tests.unit.training.audit.examples import make_pool

MODEL = {"name": "mlp", "hidden": [5], "batch_norm": True}


def forget_loss(pool: AuditSamples, model: AuditedModel) -> float:
    return float(losses(model.confidences[pool.is_forgotten]).mean())


@pytest.mark.parametrize("model", [{"name": "mlp", "hidden": [5]}, MODEL], ids=["plain", "batch norm"])
def test_a_model_that_never_saw_the_forget_set_takes_longer_to_learn_it(model: dict[str, object]) -> None:
    pool = make_pool(model=model, training={"epochs": 30, "learning_rate": 0.5})
    before, oracle = (train_model(pool, kind, 0) for kind in (ModelKind.BEFORE, ModelKind.ORACLE))
    aim = forget_loss(pool, before)
    assert relearning_steps(pool, before.payload, target=aim + 1e-6) == 0
    steps = relearning_steps(pool, oracle.payload, target=aim)
    assert steps is not None
    assert steps > 0


def test_what_is_never_reached_is_given_up() -> None:
    pool = make_pool()
    oracle = train_model(pool, ModelKind.ORACLE, 0)
    assert relearning_steps(pool, oracle.payload, target=0.0) is None
    assert MAX_STEPS < 1000
