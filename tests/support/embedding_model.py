"""A model of a table's numbers and categories, each category with an embedding of its own."""

import torch
from torch import Tensor, nn


class EmbeddingModel(nn.Module):
    """Two categories of eight places, beside six numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList([nn.Embedding(8, 3) for _ in range(2)])
        self.head = nn.LazyLinear(3)
        with torch.no_grad():
            self(torch.zeros(1, 8), torch.zeros(1, 2, dtype=torch.int64))

    def forward(self, numbers: Tensor, categories: Tensor) -> Tensor:
        embedded = [embedding(categories[:, column]) for column, embedding in enumerate(self.embeddings)]
        outputs: Tensor = self.head(torch.cat([numbers, *embedded], dim=1))
        return outputs


def build() -> nn.Module:
    return EmbeddingModel()
