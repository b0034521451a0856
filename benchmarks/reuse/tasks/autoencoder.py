"""A denoising autoencoder, trained on digits in uneven light, a fifth of them replaced by noise.

It has to return the digit without the light. It never sees a clean image.

mask      an image that is reconstructed far worse than the batch's median is no digit
smooth    SAM: with few images, sharp minima memorise them
project   the first layer's response to blank images is removed before the first step and kept out
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from benchmarks.reuse.levels import Options, kept_mean, observe_noise, verify, wrap
from benchmarks.reuse.tasks.images import PIXELS, shade, split
from benchmarks.reuse.tasks.task import Metric, Task
from gradreg import MedianOutlier

MAIN_METRIC = Metric(
    "squared error to the clean held-out digit, as a share of the digits' variance",
    higher_is_better=False,
)

IMAGES, BATCH, SHADES, CODE = 300, 32, 4, 12
SHADE, NOISE, NO_DIGIT = 0.7, 0.1, 0.2


@lru_cache(maxsize=32)
def images(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training images (300, 64), blank images, held-out images and their clean originals."""
    train, _, clean, _ = split(seed, IMAGES)
    g = torch.Generator().manual_seed(seed + 1)

    def seen(x: Tensor) -> Tensor:
        light = shade(len(x), SHADE, SHADES, g)
        return x + light + NOISE * torch.randn(x.shape, generator=g)

    no_digit = torch.rand(IMAGES, 1, generator=g) < NO_DIGIT
    outliers = 2 * torch.randn(train.shape, generator=g)
    return (
        torch.where(no_digit, outliers, seen(train)),
        shade(64, SHADE, SHADES, g),
        seen(clean),
        clean,
    )


def run(options: Options, seed: int) -> float:
    """Train on the contaminated images; return the error on held-out ones."""
    train, blank, held_out, clean = images(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(PIXELS, 64), nn.ReLU(), nn.Linear(64, CODE),
        nn.Linear(CODE, 64), nn.ReLU(), nn.Linear(64, PIXELS),
    )  # fmt: skip
    base = torch.optim.AdamW(
        model.parameters(), lr=options["lr"], weight_decay=options["weight_decay"]
    )
    opt = wrap(base, model, MedianOutlier(options.get("mask", 3.0)), options)
    observe_noise(opt, model[0], blank, options)
    for _ in range(options["steps"]):
        x = train[torch.randint(IMAGES, (BATCH,))]

        def closure(x: Tensor = x) -> Tensor:
            opt.zero_grad()
            error = (model(x) - x).square().mean(-1)
            error, keep = verify(opt, error, error.detach(), options)
            loss = kept_mean(error, keep)
            loss.backward()
            return loss

        opt.step(closure)
    with torch.no_grad():
        error = (model(held_out) - clean).square().mean()
    return float(error / clean.var(0, correction=0).mean())


TASK = Task(
    name="autoencoder",
    title="denoising autoencoder, 20 % outliers among its images",
    metric=MAIN_METRIC,
    space={
        "lr": (1e-3, 3e-3, 1e-2),
        "weight_decay": (0.0, 1e-2, 1e-1, 1.0),
        "steps": (300, 600, 1200),
        "mask": (1.5, 2.0, 3.0, 5.0),
        "rho": (0.05, 0.1, 0.2, 0.5),
        "clear": (True,),
    },
    quick={"steps": 10},
    run=run,
)
