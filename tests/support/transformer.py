"""A small transformer, as a user's factory builds it."""

import torch
from torch import Tensor, nn


class _Transformer(nn.Module):
    """Reads each row of an image, or four features, as a token."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.places = nn.Parameter(0.1 * torch.randn(features // 4, 8))
        layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=1)
        self.head = nn.Linear(8, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.embed(inputs.reshape(len(inputs), -1, 4)) + self.places
        logits: Tensor = self.head(self.encoder(tokens).mean(dim=1))
        return logits


def build(features: int, classes: int) -> nn.Module:
    """Build the model. features: of one sample, a multiple of four"""
    return _Transformer(features, classes)
