"""Small models of every kind that a patch has to differentiate twice."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raymu.training.losses import CrossEntropy, FactoryLoss, Loss
from raymu.training.models import build_cnn, build_logistic, build_mlp, build_resnet

FEATURES, CLASSES, SAMPLES = 64, 4, 20


class Transformer(nn.Module):
    """Reads 16 tokens of four features each."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        layer = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=12, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=1)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.embed(inputs.view(len(inputs), 16, 4))
        logits: Tensor = self.head(self.encoder(tokens).mean(dim=1))
        return logits


class Recurrent(nn.Module):
    """Reads a sequence of eight steps."""

    def __init__(self, kind: type[nn.LSTM | nn.GRU]) -> None:
        super().__init__()
        self.cell = kind(8, 6, batch_first=True)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        states, _ = self.cell(inputs.view(len(inputs), 8, 8))
        logits: Tensor = self.head(states[:, -1])
        return logits


class Shared(nn.Module):
    """Calls one layer twice, overwrites its output, and never uses another."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.twice, self.head = nn.Linear(FEATURES, 6), nn.Linear(6, 6), nn.Linear(6, CLASSES)
        self.unused = nn.Linear(6, 6)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.embed(inputs).relu_()
        logits: Tensor = self.head(torch.tanh(self.twice(self.twice(hidden).relu_())))
        return logits


class FrozenFirst(nn.Module):
    """Trains its last layer alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(FEATURES, 6).requires_grad_(False), nn.Linear(6, CLASSES)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.first(inputs).relu())
        return logits


def grouped() -> nn.Module:
    """Return a network with a grouped convolution and group norm, which have no Kronecker factors."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 4, 3, stride=2),
        nn.GELU(),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Flatten(),
        nn.GroupNorm(2, 4),
        nn.Linear(4, CLASSES),
    )


MODELS: Mapping[str, Callable[[], nn.Module]] = {
    "logistic": lambda: build_logistic((FEATURES,), CLASSES),
    "mlp": lambda: build_mlp((FEATURES,), CLASSES, hidden=[8], dropout=0.3),
    "batch norm": lambda: build_mlp((FEATURES,), CLASSES, hidden=[8], batch_norm=True),
    "cnn": lambda: build_cnn((FEATURES,), CLASSES, channels=[3, 4], hidden=6),
    "resnet": lambda: build_resnet((FEATURES,), CLASSES, channels=[3, 4]),
    "transformer": Transformer,
    "lstm": lambda: Recurrent(nn.LSTM),
    "gru": lambda: Recurrent(nn.GRU),
    "shared": Shared,
    "frozen": FrozenFirst,
    "grouped": grouped,
}
LOSSES: Mapping[str, Loss] = {
    "cross-entropy": CrossEntropy(label_smoothing=0.1, class_weights=(1.0, 2.0, 0.5, 1.0)),
    "a user's": FactoryLoss(per_sample=lambda outputs, targets: _squared_error(outputs, targets)),
}


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the Brier score, which is not convex in the logits."""
    return (outputs.softmax(dim=1) - F.one_hot(targets, CLASSES)).square().sum(dim=1)


def make_model(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[name]().eval()


def make_batch(samples: int = SAMPLES) -> tuple[Tensor, Tensor]:
    """Return inputs, (samples, FEATURES), and labels, (samples,)."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(samples, FEATURES, generator=generator)
    return inputs, torch.randint(0, CLASSES, (samples,), generator=generator)


def parameters_of(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def dense_gauss_newton(model: nn.Module, loss: Loss, inputs: Tensor, labels: Tensor) -> Tensor:
    """Build the mean of J^T H J from its definition, in float64. Returns (parameters, parameters)."""
    parameters = parameters_of(model)
    outputs = model(inputs)
    size = sum(parameter.numel() for parameter in parameters)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    for output, label in zip(outputs, labels, strict=True):
        rows = [torch.autograd.grad(logit, parameters, retain_graph=True, materialize_grads=True) for logit in output]
        jacobian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows]).double()

        def loss_of(logits: Tensor, target: Tensor = label[None]) -> Tensor:
            return loss(logits[None], target, "sum")

        hessian = torch.autograd.functional.hessian(loss_of, output.detach()).double()
        matrix += jacobian.T @ hessian @ jacobian
    return matrix / len(inputs)
