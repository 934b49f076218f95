"""Settings of training, which follow from the configuration and the samples of a new run and are checked with both."""

from collections.abc import Mapping
from dataclasses import replace

from raymu.config import Config
from raymu.config.data import NormalizeSetting
from raymu.data.columns import kept_features
from raymu.data.rows import Columns, Rows
from raymu.data.sample_form import SampleForm
from raymu.data.table_reading import TableReading
from raymu.errors import ConfigInvalid, DataInvalid
from raymu.text import plural
from raymu.training.checks import check_training, example_inputs, spec_for_rows
from raymu.training.normalizer import PIXELS
from raymu.training.spec import TrainingSpec
from raymu.training.tasks import columns_of_factory


def training_data(config: Config) -> str:
    """Return the files of a new run. Raises ConfigInvalid if the configuration names none."""
    if config.data.train is None:
        raise ConfigInvalid("data.train: must be given, or a table in memory beside the configuration")
    return config.data.train


def spec_of_task(config: Config, reading: TableReading) -> TrainingSpec | None:
    """Return settings from which the task that checks rows is built; None if it accepts all. Raises ConfigInvalid."""
    columns = reading.form.columns or ()
    count = 1 if reading.classes is None else reading.classes.count
    spec = TrainingSpec.of(config, input_shape=(), classes=count, columns=columns, column_kinds=reading.form.kinds)
    return spec_for_rows(spec)


def plan_training(
    config: Config,
    *,
    features: Rows,
    outputs: int,
    samples: int,
    is_numbered: bool,
    kinds: Mapping[str, str],
    path: str,
) -> TrainingSpec:
    """Return the settings that training needs.

    Args:
        config: The settings of the run.
        features: Some of the samples, as the run keeps them.
        outputs: Number of classes, labels or numbers that the model tells.
        samples: Number of samples.
        is_numbered: Whether the labels are numbers of classes.
        kinds: Kinds of the columns, with the task `tabular`.
        path: The table, for messages.

    Raises:
        ConfigInvalid: The settings do not fit the data.
        DataInvalid: The same, where the data should change.
    """
    if samples < config.partition.slices:
        raise DataInvalid(path, f"has {plural(samples, 'sample')} for {config.partition.slices} slices; use fewer")
    if is_numbered and config.data.classes is None and outputs > samples:
        raise DataInvalid(
            path,
            f"has a label {outputs - 1} among {plural(samples, 'sample')}; number the classes from 0, without gaps",
        )
    plan = _plan_inputs(config, features, outputs, kinds=kinds, source=path)
    if config.unlearning.contributions == "group" and config.unlearning.groups_per_slice is None:
        per_slice = samples / (config.partition.shards * config.partition.slices)
        fitting = max(1, round(per_slice / config.training.batch_size))
        raise ConfigInvalid(
            "unlearning.groups_per_slice must be given with contributions group, since it may not depend on the data; "
            f"{fitting} makes batches of about {config.training.batch_size}"
        )
    return plan


def sample_form(config: Config) -> SampleForm:
    """Return the form in which a run keeps its samples. Raises ConfigInvalid if the task's factory fails."""
    columns = None
    if config.task.keeps_columns:
        columns = columns_of_factory(config.task) or config.data.feature_columns
    return SampleForm(columns=columns, target=config.task.target, tabular=config.task.tabular)


def _plan_inputs(
    config: Config, features: Rows, classes: int, *, kinds: Mapping[str, str], source: str
) -> TrainingSpec:
    """Return the settings that training needs, with the inputs that the task makes of some samples.

    Raises ConfigInvalid or DataInvalid.
    """
    if not isinstance(features, Columns):
        if config.data.normalize == "unit" and features.dtype not in PIXELS:
            problem = f"unit is for uint8 and uint16, and the features are {features.dtype}"
            raise ConfigInvalid(f"data.normalize: {problem}; cast to uint8, or use shard")
        return TrainingSpec.of(config, input_shape=features.shape[1:], classes=classes)
    plan = TrainingSpec.of(config, input_shape=(), classes=classes, columns=features.names, column_kinds=kinds)
    inputs = example_inputs(plan, features, source=source)
    return replace(plan, inputs=inputs, input_shape=inputs[""].shape if set(inputs) == {""} else ())


def kept_rows(features: Rows, normalize: NormalizeSetting) -> Rows:
    """Convert arrays to what a run keeps of them; columns stay as they are."""
    return features if isinstance(features, Columns) else kept_features(features, normalize)


def check_model(plan: TrainingSpec) -> bool:
    """Return whether the model has batch norm. Raises ConfigInvalid."""
    has_batch_norm = check_training(plan)
    if has_batch_norm and plan.groups_per_slice is None and plan.training.batch_size == 1:
        raise ConfigInvalid("training.batch_size: batch norm needs batches of two samples or more")
    return has_batch_norm


def standardised_integers(plan: TrainingSpec, features: Rows) -> list[str]:
    """Return the line that says that a user's model gets integers as measurements, which the numbers of tokens are not."""
    if isinstance(features, Columns) or not plan.has_factory or plan.normalize != "shard":
        return []
    if features.dtype.kind not in "iu" or features.dtype in PIXELS:
        return []
    return ["features are integers and are standardised; set data.normalize: none if they are the numbers of tokens"]
