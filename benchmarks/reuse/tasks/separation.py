"""Blind source separation of a recording with bursts of an artefact.

Eight sensors record four sources through an unknown mixture. An artefact with two known directions
(recorded while no source was active) occurs in some spans. A few spans are corrupted entirely, from
any direction.

    x = A s + B n + corruption,      y = W x,      minimise E log cosh y + |E y yᵀ - I|²

mask      a span with an unusually large amplitude is corrupted
smooth    SAM on the unmixing matrix
project   W's response to the artefact's directions is removed before the first step and kept out
"""

from __future__ import annotations

from functools import lru_cache

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from benchmarks.reuse.levels import Options, clear, projector, verify, wrap
from benchmarks.reuse.tasks.task import Metric, Task
from gradreg import WeakAmplitude

MAIN_METRIC = Metric(
    "signal to distortion, in dB, mean over sources, held-out recording", higher_is_better=True
)

SENSORS, SOURCES, ARTEFACTS = 8, 4, 2
SPAN, SPANS, BATCH = 32, 128, 16  # samples per span, spans per recording, spans per step


@lru_cache(maxsize=32)
def recording(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training spans, held-out spans and their sources, and the artefact alone.

    Shapes: (128, 32, 8), (128, 32, 8), (128, 32, 4), (64, 8).
    """
    g = torch.Generator().manual_seed(seed)
    mixing = torch.randn(SOURCES, SENSORS, generator=g)
    leads = torch.randn(ARTEFACTS, SENSORS, generator=g)

    def recording(corrupted: float) -> tuple[Tensor, Tensor]:
        uniform = torch.rand(2, SPANS, SPAN, SOURCES, generator=g).clamp_min(1e-6)
        sources = (uniform[0] / uniform[1]).log() / 2**0.5  # Laplace, unit variance
        active = (torch.rand(SPANS, 1, ARTEFACTS, generator=g) < 0.3).float()
        noise = 3 * active * torch.randn(SPANS, SPAN, ARTEFACTS, generator=g)
        x = sources @ mixing + noise @ leads
        x = x + 0.2 * torch.randn(x.shape, generator=g)
        bad = (torch.rand(SPANS, 1, 1, generator=g) < corrupted).float()
        burst = torch.randn(SPANS, 1, SENSORS, generator=g)
        return x + 15 * bad * burst * torch.randn(SPANS, SPAN, 1, generator=g), sources

    train, _ = recording(corrupted=0.15)
    held_out, sources = recording(corrupted=0.0)
    alone = torch.randn(64, ARTEFACTS, generator=g) @ leads
    return train, held_out, sources, alone


def distortion(estimates: Tensor, sources: Tensor) -> float:
    """Return the mean signal-to-distortion ratio in dB of the best one-to-one assignment."""
    joined = torch.cat([estimates.flatten(0, 1), sources.flatten(0, 1)], dim=1)
    r = joined.T.corrcoef()[: estimates.shape[-1], estimates.shape[-1] :]
    share = r.square().nan_to_num().clamp(1e-6, 1 - 1e-6)
    decibels = 10 * (share / (1 - share)).log10()
    rows, columns = linear_sum_assignment(decibels.numpy(), maximize=True)
    return float(decibels[rows, columns].mean())


def run(options: Options, seed: int) -> float:
    """Learn an unmixing matrix; return the signal-to-distortion ratio on the held-out recording."""
    train, held_out, sources, alone = recording(seed)
    torch.manual_seed(seed)
    unmixing = nn.Parameter(0.1 * torch.randn(SOURCES, SENSORS))
    base = torch.optim.AdamW([unmixing], lr=options["lr"], weight_decay=options["weight_decay"])
    prior = WeakAmplitude(0.0, 1e6, adaptive=options.get("mask", 0.5))
    opt = wrap(base, None, prior, options)
    level = projector(opt)
    if level is not None:
        level.protect(unmixing, alone, dim=1)
        clear(level, options)
    identity = torch.eye(SOURCES)
    for _ in range(options["steps"]):
        x = train[torch.randint(SPANS, (BATCH,))]

        def closure(x: Tensor = x) -> Tensor:
            opt.zero_grad()
            y = x @ unmixing.T
            y, keep = verify(opt, y, x.square().mean((1, 2), keepdim=True).sqrt(), options)
            weight = keep / keep.sum().clamp_min(1) / SPAN
            contrast = (weight * (y.abs() + nn.functional.softplus(-2 * y.abs()))).sum()
            covariance = torch.einsum("bti,btj->ij", weight * y, y)
            loss = contrast + (covariance - identity).square().sum()
            loss.backward()
            return loss

        opt.step(closure)
    with torch.no_grad():
        return distortion(held_out @ unmixing.T, sources)


TASK = Task(
    name="separation",
    title="blind source separation with bursts of artefact",
    metric=MAIN_METRIC,
    space={
        "lr": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
        "weight_decay": (0.0, 1e-2, 1e-1),
        "steps": (200, 400, 800),
        "mask": (0.3, 0.5, 0.7, 0.85),
        "rho": (0.003, 0.01, 0.03, 0.1),
        "clear": (True,),
    },
    quick={"steps": 10},
    run=run,
)
