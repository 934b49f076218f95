"""A task of a user's: two columns of numbers and a list of words' numbers in each row, of any length."""

from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from raymu.training.inputs import Inputs, Ragged
from raymu.training.tasks import Fitted, Task


class WordsAndNumbers(Task):
    """A sample has two numbers, and the numbers of some words."""

    columns = ("left", "right", "words")

    def fit(self, rows: pa.Table) -> Fitted:
        return {"mean": self._numbers(rows).mean(dim=0)}

    def encode(self, rows: pa.Table, fitted: Fitted) -> Inputs:
        words = rows["words"].combine_chunks()
        lengths = torch.tensor(words.value_lengths().to_pylist(), dtype=torch.int64)
        values = torch.tensor(words.flatten().to_pylist(), dtype=torch.int64)
        return {"numbers": self._numbers(rows) - fitted["mean"], "words": Ragged.of(values, lengths)}

    def collate(self, inputs: Any, draws: Tensor | None) -> Inputs:
        numbers, words = inputs["numbers"], inputs["words"]
        if draws is not None:  # augmentation: a little more or less, by identity
            numbers = numbers * torch.stack([0.9 + 0.2 * (draws % 2), torch.ones(len(draws))], dim=1)
        return {"numbers": numbers, "words": words.padded()}

    @staticmethod
    def _numbers(rows: pa.Table) -> Tensor:
        return torch.tensor([rows["left"].to_pylist(), rows["right"].to_pylist()]).T.contiguous().float()


class Model(nn.Module):
    """The mean of the words' embeddings, beside the numbers."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.head = nn.Linear(6, outputs)

    def forward(self, numbers: Tensor, words: Tensor) -> Tensor:
        outputs: Tensor = self.head(torch.cat([numbers, self.embedding(words).mean(dim=1)], dim=1))
        return outputs


def build_task() -> Task:
    return WordsAndNumbers()


def build_model(outputs: int = 2) -> nn.Module:
    return Model(outputs)
