"""A proof on a few samples, before a run is created, that its training can be stopped, restored and repeated bit for bit."""

import gc
import hashlib
import itertools
import re
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from raymu.core.arrays import Targets
from raymu.data.rows import Rows
from raymu.errors import FileCorrupt, TrainingFailed
from raymu.text import one_line
from raymu.training.batches import ShardSamples
from raymu.training.checkpoint_format import tensor_bytes
from raymu.training.determinism import deterministic
from raymu.training.places import places
from raymu.training.randomness import random_state_kept, seed_everything
from raymu.training.reachable import IN_GENERATOR, reachable
from raymu.training.row_checks import PROBE_SAMPLES
from raymu.training.spec import TrainingSpec
from raymu.training.trainer import ShardTrainer

_CPU = torch.device("cpu")
_MOST_LINES = 3
_TENSOR = "a tensor"
_STEPS_AHEAD = (1, 10, 1_000, 1_000_000)
"""What is added to a number that training changes, to see whether the model would ever depend on it."""
_PERIODIC = (1_008_000, 1_007_999)
"""A number that most periods divide, such as 50 steps, and the one before it."""
_COUNT = re.compile(r"count\(|[-.\d]")
"""How the shown value of a number begins, or of a counter of itertools."""
_MOST_COUNTS = 30
"""Numbers that are tried at most."""
_NO_SEED = (
    "it depends on something that no seed reaches, such as os.urandom, the time, or a thread; "
    "draw from the global generators of torch, NumPy or random"
)

Hidden: TypeAlias = Mapping[str, str]
"""Path -> value of what code keeps outside of the state that a checkpoint has, such as an attribute that counts."""


def probe_training(spec: TrainingSpec, samples: ShardSamples) -> tuple[str, ...]:
    """Train two small stages in several ways that must give the same bits.

    The first is trained; then both in a new model, with a sample left out of the second; then the second from the first one's
    checkpoint, with that sample left out.

    Args:
        spec: Training as it is configured.
        samples: Real samples, `PROBE_SAMPLES` or fewer. Nothing is kept of them.

    Returns:
        What differs, one line each, with what to do. Empty for parts that raymu has itself: its tests prove these.
    """
    if not spec.is_probed or len(samples) < 2:
        return ()
    try:
        with deterministic(_CPU, threads=1):
            return _Probe.of(spec, samples).differences()
    except TrainingFailed:  # the training says so itself, with the shard
        return ()


def few_samples(features: Rows, labels: Targets) -> ShardSamples:
    """Return the first samples of a table as a shard of two slices, for the probe."""
    count = min(PROBE_SAMPLES, len(labels))
    return ShardSamples(
        hashes=np.arange(count, dtype=np.uint64),
        slices=np.arange(count, dtype=np.int64) // max(1, -(-count // 2)),
        features=features[:count],
        labels=labels[:count],
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Probe:
    """The small training, its samples, and those that are left after one is taken out of the second slice."""

    spec: TrainingSpec
    samples: ShardSamples
    retain: ShardSamples

    @classmethod
    def of(cls, spec: TrainingSpec, samples: ShardSamples) -> "_Probe":
        is_kept = np.ones(len(samples), dtype=bool)
        is_kept[-1] = False
        return cls(spec=_shortened(spec), samples=samples, retain=samples.where(is_kept))

    def differences(self) -> tuple[str, ...]:
        new, first, payload = self._begin()
        again = self._trainer()
        new_again = hidden_state(again)
        first_again = self._train(again, self.samples, 0)
        if names := _differing(first, first_again):
            return self._explain_repetition(names, new, new_again)
        going_on = hidden_state(again)
        gone_on = self._train(again, self.retain, 1)
        del again
        gc.collect()
        restored = self._trainer()
        try:
            restored.load(payload, source="the probe's checkpoint")
        except FileCorrupt as error:
            return (f"a checkpoint cannot be read again ({one_line(error)})",)
        changed = _changed(hidden_state(restored), going_on)
        if names := _differing(gone_on, self._train(restored, self.retain, 1)):
            return self._explain_restoring(names, changed)
        return tuple(self._latent(changed))

    def _begin(self) -> tuple[Hidden, dict[str, str], bytes]:
        """Train the first stage. Returns the hidden state before it, the digests after it, and its checkpoint."""
        trainer = self._trainer()
        new = hidden_state(trainer)
        trainer.train_stage(self.samples, 0)
        payload, _ = trainer.dump(stage=0, determinism="a probe")
        return new, self._digests(trainer), payload

    def _trainer(self) -> ShardTrainer:
        return ShardTrainer(self.spec, 0, _CPU)

    def _train(self, trainer: ShardTrainer, samples: ShardSamples, stage: int) -> dict[str, str]:
        trainer.train_stage(samples, stage)
        return self._digests(trainer)

    def _digests(self, trainer: ShardTrainer) -> dict[str, str]:
        """Return the digest of each tensor that a checkpoint would have, and of what the model predicts."""
        with random_state_kept(_CPU):
            seed_everything(0)
            predictions = torch.from_numpy(trainer.classifier.probabilities(self.samples.features))
        tensors = trainer.state() | {"the predictions": predictions}
        return {name: _tensor_digest(tensor) for name, tensor in tensors.items()}

    def _explain_repetition(self, names: list[str], new: Hidden, new_again: Hidden) -> tuple[str, ...]:
        outlived = [
            f"{path} is {new[path]} before one training and {value} before the next: it outlives the model; keep it in "
            "a buffer"
            for path, value in new_again.items()
            if new.get(path, value) != value
        ]
        return tuple(outlived[:_MOST_LINES]) or (
            f"training twice from one seed gives two values of {names[0]}: {_NO_SEED}",
        )

    def _explain_restoring(self, names: list[str], changed: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
        lines = [_unsaved(path, *values) for path, values in changed.items()]
        return tuple(lines[:_MOST_LINES]) or (
            f"going on and restoring a checkpoint give two values of {names[0]}: something that no checkpoint has decides on "
            "it; keep it in a buffer",
        )

    def _latent(self, changed: Mapping[str, tuple[str, str]]) -> Iterator[str]:
        """Yield the numbers that training changes, and on which the model depends once they are larger."""
        counts = [path for path, (_, value) in changed.items() if _COUNT.match(value)]
        for path in counts[:_MOST_COUNTS]:
            if f".{IN_GENERATOR}." in path or self._depends_on(path):
                yield _unsaved(path, *changed[path])

    def _depends_on(self, path: str) -> bool:
        """Tell whether a larger number gives another gradient, or an error."""
        trainer = self._trainer()
        trainer.fit_encoder(self.samples)
        self._gradient(trainer)  # some attributes are made by the first step
        item, set_item = places(trainer.code_objects, [path]).get(path, (None, None))
        if set_item is None:
            return False
        gradients = set()
        try:
            for later in _later(item):
                set_item(later)
                try:
                    gradients.add(self._gradient(trainer))
                except Exception as error:  # of the model's own code
                    gradients.add(type(error).__name__)
        except (AttributeError, TypeError):  # it cannot be set
            return False
        finally:
            with suppress(AttributeError, TypeError):
                set_item(item)  # all models share a global
        return len(gradients) > 1

    def _gradient(self, trainer: ShardTrainer) -> str:
        """Return the digest of a gradient, without a step."""
        classifier = trainer.classifier
        model = classifier.model.train()
        with random_state_kept(_CPU):
            seed_everything(0)
            model.zero_grad(set_to_none=True)
            outputs = classifier.forward(classifier.prepare(self.samples.features).all())
            classifier.loss(outputs, classifier.targets(self.samples.labels)).backward()
        parts = [outputs, *(each.grad for each in model.parameters() if each.grad is not None)]
        return "".join(_tensor_digest(part) for part in parts)


def constant_tensors(spec: TrainingSpec) -> dict[str, str]:
    """Return the tensors and arrays that code keeps outside of checkpoints, and that a small training leaves as they are.

    They have to be the same in all processes that train a run. One that a module draws when it is imported is not, without
    a seed of its own, and a probe in one process cannot see that.

    Returns:
        Path -> checksum. Empty if the training fails, which it says itself.
    """
    try:
        with deterministic(_CPU, threads=1):
            trainer = ShardTrainer(_shortened(spec), 0, _CPU)
            before = hidden_state(trainer)
            _train_on_noise(trainer, spec)
            after = hidden_state(trainer)
    except TrainingFailed:
        return {}
    return {
        path: value
        for path, value in before.items()
        if value.startswith(_TENSOR) and after.get(path) == value and not path.startswith("optimizer.")
    }


def _train_on_noise(trainer: ShardTrainer, spec: TrainingSpec) -> None:
    """Train a little on samples that are nobody's: of noise, or of zeros for a task that keeps columns."""
    if spec.inputs:
        batch, classifier = spec.blank(PROBE_SAMPLES, _CPU), trainer.classifier
        classifier.model.train()
        classifier.loss(classifier.forward(batch), classifier.target.blank(PROBE_SAMPLES, spec.classes)).backward()
        trainer.optimizer.step()
        return
    trainer.train_stage(noise_samples(spec), 0)


def noise_samples(spec: TrainingSpec) -> ShardSamples:
    """Return samples of noise, as arrays, for the probe."""
    noise = np.random.default_rng(0).normal(size=(PROBE_SAMPLES, *spec.input_shape)).astype(np.float32)
    inputs = np.zeros_like(noise) if spec.takes_integers else noise
    return few_samples(inputs, np.arange(PROBE_SAMPLES) % spec.classes)


def _shortened(spec: TrainingSpec) -> TrainingSpec:
    """Return the settings of a training of two short stages."""
    batch_size = min(3, spec.training.batch_size)  # that three samples can be trained on is known
    return replace(spec, epochs=(1, 1), groups_per_slice=None, training=replace(spec.training, batch_size=batch_size))


def hidden_state(trainer: ShardTrainer) -> Hidden:
    """Read what the code that training runs keeps outside of checkpoints."""
    values = ((path, _value(item)) for path, item in reachable(trainer.code_objects))
    return {path: value for path, value in values if value is not None}


def _unsaved(path: str, restored: str, going_on: str) -> str:
    return (
        f"{path} is {going_on} after a stage, and {restored} in a model that is restored from its checkpoint, which does not "
        "have it; keep it in a buffer"
    )


def _changed(restored: Hidden, going_on: Hidden) -> dict[str, tuple[str, str]]:
    """Return what differs between a restored model and one that went on: path -> both values. New paths come last."""
    differing = {path: (value, going_on.get(path, value)) for path, value in restored.items()}
    made = {path: ("absent", value) for path, value in going_on.items() if path not in restored}
    return {path: values for path, values in (differing | made).items() if values[0] != values[1]}


def _later(item: object) -> list[object]:
    """Return the values that a number, or a counter, may have after more steps; none for other objects."""
    match item:
        case itertools.count():
            begin = int(repr(item).removeprefix("count(").partition(",")[0].rstrip(")"))
            return [itertools.count(number) for number in (begin, *(begin + step for step in _STEPS_AHEAD), *_PERIODIC)]
        case bool():
            return []
        case int() | float():
            return [item, *(item + step for step in _STEPS_AHEAD), *_PERIODIC]
    return []


def _value(item: object) -> str | None:
    """Return what is compared of an object, and printed; None for one that is followed further, or says nothing."""
    match item:
        case torch.Generator() | np.random.Generator() | np.random.RandomState():
            return None  # seeded
        case Tensor() | np.ndarray():
            tensor = item.detach() if isinstance(item, Tensor) else torch.from_numpy(np.atleast_1d(item).copy())
            return f"{_TENSOR} ({_tensor_digest(tensor)})" if tensor.layout is torch.strided else None
        case bool() | int() | float() | complex() | np.generic():
            return str(item)
        case str() | bytes():
            return f"a text ({hashlib.sha256(repr(item).encode()).hexdigest()[:8]})"
        case list() | tuple() | dict() | set() | deque():
            return f"a {type(item).__name__} of {len(item)}"
        case itertools.count():
            return repr(item)
    return None


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    return [name for name in sorted({*first, *second}) if first.get(name) != second.get(name)]


def _tensor_digest(tensor: Tensor) -> str:
    """Return a checksum, which is quicker than a hash: nobody forges these."""
    return f"{zlib.crc32(tensor_bytes(tensor)):08x}"
