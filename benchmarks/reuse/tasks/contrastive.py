"""Contrastive learning of two views of one digit, where some pairs are false.

Views of a pair have the same light, like photographs taken together: recognising the light is a
shortcut to a low loss that ignores the digit. A third of the pairs are false.

mask      a pair whose embeddings agree far less than usual is probably false
smooth    SAM: with few images, sharp minima memorise them
project   the first layer's response to blank images is removed before the first step and kept out
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.reuse.levels import Options, kept_mean, observe_noise, verify, wrap
from benchmarks.reuse.tasks.images import CLASSES, PIXELS, shade, split
from benchmarks.reuse.tasks.task import Metric, Task
from gradreg import WeakAmplitude

MAIN_METRIC = Metric(
    "accuracy of 5 nearest neighbours in the embedding, held-out images", higher_is_better=True
)

IMAGES, BATCH, SHADES = 400, 64, 4
SHADE, NOISE, FALSE = 1.0, 0.2, 0.35


@lru_cache(maxsize=32)
def views(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return two views of each pair, both (400, 64), and blank images (64, 64)."""
    images, _, _, _ = split(seed, IMAGES)
    g = torch.Generator().manual_seed(seed + 1)
    light = shade(IMAGES, SHADE, SHADES, g)
    wrong = torch.rand(IMAGES, generator=g) < FALSE
    other = torch.where(wrong, torch.randperm(IMAGES, generator=g), torch.arange(IMAGES))
    first = images + light + NOISE * torch.randn(images.shape, generator=g)
    second = images[other] + light + NOISE * torch.randn(images.shape, generator=g)
    return first, second, shade(64, SHADE, SHADES, g)


@torch.no_grad()
def neighbours(model: nn.Module, seed: int) -> float:
    """Return the accuracy of nearest neighbours among the training images, on held-out digits."""
    g = torch.Generator().manual_seed(seed + 2)
    train, labels, held_out, truth = split(seed, IMAGES)
    train = train + shade(len(train), SHADE, SHADES, g)
    held_out = held_out + shade(len(held_out), SHADE, SHADES, g)
    a, b = F.normalize(model(held_out), dim=-1), F.normalize(model(train), dim=-1)
    near = (a @ b.T).topk(5).indices
    votes = F.one_hot(labels[near], CLASSES).sum(1)
    return float((votes.argmax(-1) == truth).float().mean())


def run(options: Options, seed: int) -> float:
    """Train an encoder on pairs; return the accuracy of nearest neighbours in its space."""
    first, second, blank = views(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(PIXELS, 64), nn.ReLU(), nn.Linear(64, 32))
    base = torch.optim.AdamW(
        model.parameters(), lr=options["lr"], weight_decay=options["weight_decay"]
    )
    prior = WeakAmplitude(0.0, 2.0, adaptive=options.get("mask", 0.5))
    opt = wrap(base, model, prior, options)
    observe_noise(opt, model[0], blank, options)
    for _ in range(options["steps"]):
        batch = torch.randint(IMAGES, (BATCH,))
        x, y = first[batch], second[batch]

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            opt.zero_grad()
            a, b = F.normalize(model(x), dim=-1), F.normalize(model(y), dim=-1)
            cosines = a @ b.T
            distance = 1 - cosines.detach().diagonal()
            cosines, keep = verify(opt, cosines, distance[:, None], options)
            pair = F.cross_entropy(cosines / 0.2, torch.arange(BATCH), reduction="none")
            loss = kept_mean(pair, keep[:, 0])
            loss.backward()
            return loss

        opt.step(closure)
    return neighbours(model, seed)


TASK = Task(
    name="contrastive",
    title="contrastive learning, 35 % false pairs",
    metric=MAIN_METRIC,
    space={
        "lr": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
        "weight_decay": (0.0, 1e-2, 1e-1),
        "steps": (25, 100, 200, 400),
        "mask": (0.3, 0.5, 0.65, 0.8),
        "rho": (0.02, 0.05, 0.1, 0.2, 0.5),
        "clear": (True,),
    },
    quick={"steps": 10},
    run=run,
)
