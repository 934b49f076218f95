"""The ensemble of one generation as an `nn.Module` for plain PyTorch: encoding of a batch, constituents and aggregation."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from raymu.config import TargetName
from raymu.config.unlearning import AggregationName
from raymu.core.aggregate import Voters, vote_shares
from raymu.data.rows import Rows, as_array
from raymu.training.classifier import Classifier
from raymu.training.encoder import Encoder
from raymu.training.inputs import BatchInputs, batch_of
from raymu.training.tasks.tensor import TensorTask


class EnsembleModule(nn.Module):
    """The voting constituents of one generation in one module. It needs no run, and its tensors are its own.

    Called with one batch, every constituent gets it. Where constituents encode samples differently, as tables whose
    categories are learned from a shard's first slice, it is called with one batch for each: `encode` makes them.
    """

    def __init__(
        self,
        classifiers: Sequence[Classifier],
        *,
        aggregation: AggregationName,
        voters: Voters,
        target: TargetName,
    ) -> None:
        """Take over loaded classifiers, in evaluation mode.

        Args:
            classifiers: Of the constituents that vote. They are on the CPU.
            aggregation: The rule that combines them.
            voters: What weights their votes.
            target: The kind of their targets.
        """
        super().__init__()
        self.constituents = nn.ModuleList(_ConstituentModule(classifier) for classifier in classifiers)
        self._encoders = [_fitted(classifier) for classifier in classifiers]
        self._target_name = str(target)
        self._counts_votes = aggregation is AggregationName.MAJORITY_VOTE
        self.vote_shares = [float(share) for share in vote_shares(aggregation, voters)]
        """The share of each constituent in the result; they add up to 1."""
        self.eval()

    @property
    def takes_arrays(self) -> bool:
        """Whether it is called with features as in the training file, which is so for the task `tensor`."""
        return isinstance(self._encoders[0].task, TensorTask)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the features that it takes: float32, float64 or int64. Others are converted, as a run does."""
        return self._encoders[0].fitted["mean"].dtype if self.takes_arrays else torch.float32

    @property
    def batches(self) -> int:
        """How many batches the module is called with: one for all constituents, or one for each."""
        return 1 if encode_alike(self._encoders) else len(self._encoders)

    def encode(self, rows: Rows) -> tuple[BatchInputs, ...]:
        """Make of samples what the module is called with: `module(*module.encode(rows))`.

        Args:
            rows: (samples, *input shape), or the run's columns.
        """
        if self.takes_arrays:
            return (torch.as_tensor(as_array(rows)).to(self.dtype),)
        return tuple(_collated(encoder, rows) for encoder in self._encoders[: self.batches])

    def named_state(self) -> dict[str, Tensor]:
        """Return all tensors by name: `constituents.0.model.NAME`, and what a task learned as `constituents.0.task.NAME`."""
        named: dict[str, Tensor] = {}
        for number, constituent in enumerate(self.constituents):
            assert isinstance(constituent, _ConstituentModule)
            named |= {f"constituents.{number}.{name}": tensor for name, tensor in constituent.named_state().items()}
        return named

    def description(self) -> dict[str, Any]:
        """Say how predictions are made of the tensors that `named_state` returns, as plain JSON values."""
        first = self._encoders[0]
        return {
            "constituents": len(self.constituents),
            "vote_shares": self.vote_shares,
            "combination": "votes" if self._counts_votes else "mean",
            "outputs": self._target_name,
            "task": "tensor" if self.takes_arrays else type(first.task).__name__,
            "batches": self.batches,
        }

    def forward(self, *batches: BatchInputs) -> Tensor:
        """Predict.

        Args:
            batches: One batch for all constituents, or one for each. Of the task `tensor`, the features as in the training
                file: (samples, *input shape).

        Returns:
            (samples, outputs) float32: probabilities of classes or labels, or numbers.
        """
        total: Tensor | None = None
        for number, (constituent, share) in enumerate(zip(self.constituents, self.vote_shares, strict=True)):
            predictions = constituent(batches[number if len(batches) > 1 else 0])
            if self._counts_votes:  # a tie goes to the lower class, as argmax has it
                predictions = nn.functional.one_hot(predictions.argmax(dim=-1), predictions.shape[-1])
            # float64, summed in the order of the shards, as a run predicts.
            vote = predictions.double() * share
            total = vote if total is None else total + vote
        assert total is not None, "an ensemble has a voter"
        return total.float()


class _ConstituentModule(nn.Module):
    """One constituent: the encoding of a batch on the device, the model, and what its outputs say."""

    target_mean: Tensor | None
    target_scale: Tensor | None

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        encoder = _fitted(classifier)
        self.model = classifier.model
        self._task, self._target, self._outputs = classifier.task, classifier.target, classifier.classes
        self._numerics = classifier.numerics.eager()
        self._fitted_names = list(encoder.fitted)
        for number, tensor in enumerate(encoder.fitted.values()):  # a name may have dots, which a buffer's may not
            self.register_buffer(f"fitted_{number}", tensor)
        self.register_buffer("target_mean", encoder.target_mean)
        self.register_buffer("target_scale", encoder.target_scale)
        if isinstance(self._task, TensorTask):
            self._limit = float(encoder.fitted["limit"])

    def named_state(self) -> dict[str, Tensor]:
        """Return the model's tensors, those of the task, and the scale of targets, by name."""
        named = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items() if torch.is_tensor(tensor)}
        named |= {f"task.{name}": tensor for name, tensor in self._fitted.items()}
        scaling = {"target.mean": self.target_mean, "target.scale": self.target_scale}
        return named | {name: tensor for name, tensor in scaling.items() if tensor is not None}

    def forward(self, batch: BatchInputs) -> Tensor:
        """Predict (samples, outputs) float32 of a batch."""
        outputs = self._numerics.forward(self._task, self.model, self._normalized(batch))
        predictions = self._target.predict(outputs.reshape(-1, self._outputs))
        if self.target_mean is None or self.target_scale is None:
            return predictions
        return predictions / self.target_scale + self.target_mean

    @property
    def _fitted(self) -> dict[str, Tensor]:
        return {name: getattr(self, f"fitted_{number}") for number, name in enumerate(self._fitted_names)}

    def _normalized(self, batch: BatchInputs) -> BatchInputs:
        fitted = self._fitted
        if not isinstance(self._task, TensorTask):
            return self._task.normalize(batch, fitted)
        assert not isinstance(batch, Mapping), "samples of the task tensor are arrays"
        mean = fitted["mean"]
        features = batch.to(mean.dtype)
        if mean.dtype == torch.int64:
            return features
        values = ((features - mean) * fitted["scale"]).float()
        return values.clamp(-self._limit, self._limit) if self._limit < torch.inf else values


def _fitted(classifier: Classifier) -> Encoder:
    assert classifier.encoder is not None, "a classifier that was never trained has no vote"
    return classifier.encoder


def _collated(encoder: Encoder, rows: Rows) -> BatchInputs:
    task = encoder.task
    inputs = task.prepare_rows(rows, encoder.fitted, torch.device("cpu"))
    return batch_of(task.collate(inputs, None) if task.is_collated else inputs)


def encode_alike(encoders: Sequence[Encoder]) -> bool:
    """Return whether encoders make the same batch of the same samples, apart from `Task.normalize`."""
    return all(_is_same(encoder, encoders[0]) for encoder in encoders)


def _is_same(encoder: Encoder, other: Encoder) -> bool:
    """Return whether two encoders make the same batch of the same samples."""
    if encoder.task.encodes_alike or isinstance(
        encoder.task, TensorTask
    ):  # a module of these normalises what it is given
        return True
    if encoder.fitted.keys() != other.fitted.keys():
        return False
    return all(torch.equal(tensor, other.fitted[name]) for name, tensor in encoder.fitted.items())
