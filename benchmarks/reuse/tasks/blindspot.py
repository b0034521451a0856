"""Blind-spot denoising of few images: each pixel is predicted from the others.

There are only noisy images, and few of them. A quarter of the pixels is hidden and predicted from
the rest, so that the noise can't be copied, only memorised. No image is contaminated, and the noise
has no preferred direction: there is little for mask and projector to do.

mask      an image whose hidden pixels are predicted far worse than the batch's median
smooth    SAM: memorised images lie in sharp minima
project   the first layer's response to dark images, which show only sensor noise, stays as it is
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from benchmarks.reuse.levels import Options, kept_mean, observe_noise, verify, wrap
from benchmarks.reuse.tasks.images import PIXELS, split
from benchmarks.reuse.tasks.task import Metric, Task
from gradreg import MedianOutlier

MAIN_METRIC = Metric(
    "squared error to the clean held-out digit, as a share of the digits' variance",
    higher_is_better=False,
)

IMAGES, BATCH, NOISE = 150, 32, 0.25
PARTS = 4


@lru_cache(maxsize=32)
def images(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return noisy training images (150, 64), dark images, noisy held-out images, clean ones."""
    train, _, clean, _ = split(seed, IMAGES)
    g = torch.Generator().manual_seed(seed + 1)
    train = train + NOISE * torch.randn(train.shape, generator=g)
    dark = NOISE * torch.randn(64, PIXELS, generator=g)
    return train, dark, clean + NOISE * torch.randn(clean.shape, generator=g), clean


def run(options: Options, seed: int) -> float:
    """Train on few noisy images; return the error on held-out ones."""
    train, dark, held_out, clean = images(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(PIXELS, 128), nn.ReLU(), nn.Linear(128, PIXELS))
    base = torch.optim.AdamW(
        model.parameters(), lr=options["lr"], weight_decay=options["weight_decay"]
    )
    opt = wrap(base, model, MedianOutlier(options.get("mask", 3.0)), options)
    observe_noise(opt, model[0], dark, options)
    parts = torch.randperm(PIXELS) % PARTS  # pixels with the same number are hidden together
    for _ in range(options["steps"]):
        x = train[torch.randint(len(train), (BATCH,))]
        hidden = (torch.rand(x.shape) < 1 / PARTS).float()

        def closure(x: Tensor = x, hidden: Tensor = hidden) -> Tensor:
            opt.zero_grad()
            error = ((model(x * (1 - hidden)) - x).square() * hidden).sum(-1) / hidden.sum(-1)
            error, keep = verify(opt, error, error.detach(), options)
            loss = kept_mean(error, keep)
            loss.backward()
            return loss

        opt.step(closure)
    with torch.no_grad():
        guess = sum(model(held_out * (parts != part)) * (parts == part) for part in range(PARTS))
        error = (guess - clean).square().mean()
    return float(error / clean.var(0, correction=0).mean())


TASK = Task(
    name="blindspot",
    title="blind-spot denoising of few images",
    metric=MAIN_METRIC,
    space={
        "lr": (3e-4, 1e-3, 3e-3, 1e-2),
        "weight_decay": (0.0, 1e-1, 1.0, 3.0),
        "steps": (200, 400, 800),
        "mask": (1.5, 2.0, 3.0, 5.0),
        "rho": (0.05, 0.1, 0.2, 0.5),
        "clear": (False,),
    },
    quick={"steps": 10},
    run=run,
)
