"""Contrastive learning with false pairs: two views of one digit, except where the pairing erred.

Views of a pair share their light, as pictures taken together do: telling light apart is a
shortcut to a low loss that says nothing of the digit. Of the pairs a third are false.

mask      a pair whose embeddings agree far less than is usual is likely false
smooth    SAM: few images, so that sharp minima remember them
project   the first layer's response to blank frames is cleared before the first step, and stays so
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.reuse.levels import Options, clear, kept_mean, projector, verify, wrap
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
    """Return two views of each pair, (400, 64) both, and blank frames (64, 64)."""
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
    """Tell held-out digits by their nearest neighbours among the training images."""
    g = torch.Generator().manual_seed(seed + 2)
    known, labels, unknown, truth = split(seed, IMAGES)
    known = known + shade(len(known), SHADE, SHADES, g)
    unknown = unknown + shade(len(unknown), SHADE, SHADES, g)
    a, b = F.normalize(model(unknown), dim=-1), F.normalize(model(known), dim=-1)
    near = (a @ b.T).topk(5).indices
    votes = F.one_hot(labels[near], CLASSES).sum(1)
    return float((votes.argmax(-1) == truth).float().mean())


def run(options: Options, seed: int) -> float:
    """Train an encoder on pairs; return how well neighbours in its space tell digits."""
    first, second, blank = views(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(PIXELS, 64), nn.ReLU(), nn.Linear(64, 32))
    base = torch.optim.AdamW(
        model.parameters(), lr=options["lr"], weight_decay=options["weight_decay"]
    )
    prior = WeakAmplitude(0.0, 2.0, adaptive=options.get("mask", 0.5))
    opt = wrap(base, model, prior, options)
    level = projector(opt)
    if level is not None:
        with level.observe_noise():
            model[0](blank)
        clear(level, options)
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
