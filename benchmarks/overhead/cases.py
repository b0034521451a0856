"""The models that are trained: a small MLP, CNN and transformer."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

CLASSES = 10


@dataclass(frozen=True)
class Case:
    """A model with its batch.

    Attributes:
        name: its name in the tables.
        build: builds the model.
        batch: input shape.
        rank: of the projector's noise subspace, in every layer.
    """

    name: str
    build: Callable[[], nn.Module]
    batch: tuple[int, ...]
    rank: int

    def build_all(self) -> tuple[nn.Module, Tensor, Tensor]:
        """Return the model, an input batch and labels, the same every time."""
        torch.manual_seed(0)
        model = self.build()
        x = torch.randn(self.batch)
        return model, x, torch.randint(CLASSES, (self.batch[0],))


def mlp() -> nn.Module:
    """Return a network of three hidden layers of 512."""
    return nn.Sequential(
        nn.Linear(256, 512), nn.GELU(),
        nn.Linear(512, 512), nn.GELU(),
        nn.Linear(512, 512), nn.GELU(),
        nn.Linear(512, CLASSES),
    )  # fmt: skip


def cnn() -> nn.Module:
    """Return a network of four convolutions with BatchNorm, for 16×16 images."""
    layers: list[nn.Module] = []
    channels = (3, 16, 32, 32, 64)
    for i, (before, after) in enumerate(pairwise(channels)):
        stride = 1 + i % 2
        layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))


class Transformer(nn.Module):
    """Three pre-norm blocks of width 128 over sequences of 64 tokens."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            128, 4, 512, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores of sequences `(B, 64, 128)`."""
        scores: Tensor = self.head(self.encoder(x).mean(1))
        return scores


CASES = (
    Case("MLP", mlp, (1024, 256), rank=16),
    Case("CNN", cnn, (1024, 3, 16, 16), rank=16),
    Case("transformer", Transformer, (16, 64, 128), rank=16),
    Case("MLP, unfavourable", mlp, (32, 256), rank=64),
    Case("CNN, unfavourable", cnn, (32, 3, 16, 16), rank=64),
    Case("transformer, unfavourable", Transformer, (1, 32, 128), rank=64),
)
