"""Crops to measure with: simple ones in NumPy alone, and the synthetic domains."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from benchmarks.gpu.stand_ins import AbsentPackageError
from rppg.processes import usable_cpus
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import DOMAINS
from rppg.types import FaceCrops, Recording
from rppg.video.threads import one_thread

SIDE = 36
MOST_WORKERS = 16


def simple_crops(count: int, duration_s: float, fps: float = 30.0) -> list[FaceCrops]:
    """Return discs of skin colour, each with a pulse of its own, before a grey wall, with noise.

    They show whether two devices compute the same, and how fast, not how well.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    face = (np.hypot(x, y) < 0.3)[..., None]
    times_s = np.arange(round(duration_s * fps)) / fps
    crops = []
    for _ in range(count):
        skin = rng.uniform(0.7, 1.0) * np.array([180.0, 130.0, 105.0])
        rate_hz, phase = rng.uniform(0.9, 2.0), rng.uniform(0, 2 * np.pi)
        pulse = np.sin(2 * np.pi * rate_hz * times_s + phase)[:, None, None, None]
        light = 1 + 0.01 * np.sin(2 * np.pi * rng.uniform(0.1, 0.4) * times_s)
        frames = np.where(face, skin * (1 + pulse * [0.003, 0.008, 0.005]), 110.0)
        frames = frames * light[:, None, None, None]
        frames += rng.normal(0, 1.0, frames.shape)
        valid = np.ones(len(times_s), dtype=np.bool_)
        crops.append(FaceCrops(np.rint(frames).clip(0, 255).astype(np.uint8), times_s, valid))
    return crops


def render(domain: str, counts: Mapping[str, int], duration_s: float) -> bool:
    """Render recordings of a domain into the cache, in parallel.

    Args:
        counts: how many of each split.

    Returns:
        Whether they are the domain's own. Where PyAV isn't installed, and the cache doesn't have
        them, all of those of a domain with a codec are rendered without their compression.
    """

    def render_all(*, compressed: bool) -> None:
        for split, count in counts.items():
            open_domain(domain, split, count, duration_s, compressed=compressed)

    try:
        render_all(compressed=True)
    except AbsentPackageError:
        if DOMAINS[domain].codec is None:  # something else is missing
            raise
        render_all(compressed=False)
        return False
    return True


def open_domain(
    domain: str, split: str, count: int, duration_s: float, *, compressed: bool
) -> list[Recording]:
    """List recordings of a domain; missing ones are rendered.

    Args:
        compressed: with the domain's codec, if it has one; without, the cache keeps them apart.
    """
    if not compressed:
        DOMAINS[domain] = replace(DOMAINS[domain], codec=None)
    workers = min(MOST_WORKERS, usable_cpus())
    with one_thread():
        return synthetic_recordings(domain, split, count, duration_s=duration_s, workers=workers)
