"""A shard actor that says what its work took, beside the bare PyTorch loop that it is compared with."""

import time
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from raymu.core.trust import EVERYTHING
from raymu.data.run_table import from_arrow
from raymu.runtime.shard_actor import ShardService
from raymu.service.shard.messages import TrainReport
from raymu.store.run import RunStore
from raymu.training.models import build_model
from raymu.training.normalizer import Normalizer
from raymu.training.optimizers import build_optimizer
from raymu.training.spec import TrainingSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a training took of its process."""

    passes: int
    """Sample passes."""
    wall_s: float
    cpu_s: float
    """CPU seconds of all threads."""


class MeasuredShard(ShardService):
    """A shard actor that says what its work took, and runs the bare loop too."""

    def train(self, message: bytes) -> tuple[TrainReport, Usage]:
        """Train a shard. message: a `TrainTask`, encrypted"""
        cpu, started = time.process_time(), time.perf_counter()
        *_, report = self.run(message)
        assert isinstance(report, TrainReport)
        return report, _usage(int(report.passes), cpu, started)

    def bare_loop(self, location: str, passes: int) -> Usage:
        """Train on the samples of shard 0 by a bare loop, for at least this many sample passes."""
        return bare_loop(RunStore(location, trust=EVERYTHING), passes)


def _usage(passes: int, cpu: float, started: float) -> Usage:
    return Usage(passes=passes, wall_s=time.perf_counter() - started, cpu_s=time.process_time() - cpu)


def bare_loop(store: RunStore, passes: int) -> Usage:
    """Train for at least this many sample passes on the samples of shard 0."""
    torch.set_num_threads(1)
    cpu, started = time.process_time(), time.perf_counter()
    config, classes = store.config, store.manifest.classes
    table, _ = from_arrow(store.samples.read_table(store.manifest.tables[0]))
    spec = TrainingSpec.of(config, input_shape=table.array.shape[1:], classes=classes)
    inputs = Normalizer.fit(table.array, spec.normalize).apply(table.array, torch.device("cpu"))
    labels = torch.from_numpy(table.labels.copy())
    model = build_model(spec.model, input_shape=spec.input_shape, classes=classes)
    optimizer = build_optimizer(model.parameters(), spec.training)
    done = 0
    while done < passes:
        for rows in torch.randperm(len(labels)).split(spec.training.batch_size):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(model(inputs[rows]), labels[rows]).backward()
            optimizer.step()
        done += len(labels)
    return _usage(done, cpu, started)
