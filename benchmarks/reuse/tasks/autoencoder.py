"""A denoising autoencoder, trained on what there is: shaded digits, a fifth of them rubbish.

It is to give the digit without the light. No clean image is shown to it.

mask      an image that is reconstructed far worse than the batch's median is no digit
smooth    SAM: few images, so that sharp minima remember them
project   the first layer's response to blank frames is cleared before the first step, and stays so
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from benchmarks.reuse.levels import Options, clear, kept_mean, projector, verify, wrap
from benchmarks.reuse.tasks.images import PIXELS, shade, split
from benchmarks.reuse.tasks.task import Metric, Task
from gradreg import MedianOutlier

MAIN_METRIC = Metric(
    "squared error to the clean held-out digit, as a share of the digits' variance",
    higher_is_better=False,
)

IMAGES, BATCH, SHADES, CODE = 300, 32, 4, 12
SHADE, NOISE, RUBBISH = 0.7, 0.1, 0.2


@lru_cache(maxsize=32)
def images(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training images (300, 64), blank frames, held-out images and their clean originals."""
    train, _, clean, _ = split(seed, IMAGES)
    g = torch.Generator().manual_seed(seed + 1)

    def seen(x: Tensor) -> Tensor:
        light = shade(len(x), SHADE, SHADES, g)
        return x + light + NOISE * torch.randn(x.shape, generator=g)

    rubbish = torch.rand(IMAGES, 1, generator=g) < RUBBISH
    wild = 2 * torch.randn(train.shape, generator=g)
    return torch.where(rubbish, wild, seen(train)), shade(64, SHADE, SHADES, g), seen(clean), clean


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
    level = projector(opt)
    if level is not None:
        with level.observe_noise():
            model[0](blank)
        clear(level, options)
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
    title="denoising autoencoder, 20 % rubbish among its images",
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
