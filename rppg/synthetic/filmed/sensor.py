"""From light at the sensor to the bytes of a frame: photons, gain, tone curve, noise reduction."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from rppg.synthetic.domains import Camera
from rppg.synthetic.render import crosstalk

Array = NDArray[np.float64]

STILL_LEVELS = 6.0
"""Change of brightness, of 255, that noise reduction takes for noise; larger is motion."""


@dataclass(frozen=True)
class Sensor:
    """A sensor and what processes its pixels.

    Attributes:
        camera: its colour mixing and gamma.
        exposure: factor from the scene's light to a share of the white point.
        full_well: electrons at the white point.
        read_noise: noise of the readout in electrons.
    """

    camera: Camera
    exposure: float
    full_well: float
    read_noise: float

    def expose(
        self,
        light: Tensor,
        gain: Tensor,
        contrast: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Return levels `(n, 3, H, W)` in 0..255, not rounded, of light that `mix` returned.

        Noise is that of the photons (Poisson's, as a Gaussian) and of the readout. It is added in
        linear light, before the gains and the tone curve.

        Args:
            gain: `(n, 3, 1, 1)` of the channels.
            contrast: `(n, 1, 1, 1)` strength of the tone mapping.
            generator: of the noise; None for none.
        """
        exposed = self.exposure * light
        if generator is not None:
            variance = exposed / self.full_well
            variance += (self.read_noise / self.full_well) ** 2
            noise = torch.randn(exposed.shape, generator=generator)
            exposed.addcmul_(variance.sqrt_(), noise)
        return tone(exposed.mul_(gain), self.camera.gamma, contrast).mul_(255)

    def levels_after(self, levels: Array, gain: Array, contrast: float, first: float) -> Array:
        """Return what levels `(L,)` become at other gains `(3,)` and contrast: `(3, L)`.

        Args:
            first: the contrast with which the levels were made, at gains of 1.
        """
        grid = np.linspace(0, 1, 1024)
        made = 255 * _numpy_tone(grid, self.camera.gamma, first)
        light = np.interp(levels, made, grid)
        return 255 * _numpy_tone(gain[:, None] * light, self.camera.gamma, contrast)


def tone(linear: Tensor, gamma: float, contrast: Tensor) -> Tensor:
    """Return the tone curve in 0..1: a gamma, then an S of strength `contrast`."""
    curve = linear.clamp(1e-5, 1).pow_(1 / gamma)
    if contrast.any():
        curve += contrast * (curve * curve * (3 - 2 * curve) - curve)
    return curve


def exposure_for(level: float, light: Tensor, camera: Camera, contrast: float) -> float:
    """Return the exposure at which light `(3, N)` has a mean level of its channels, of 255."""
    mixed = mix(light[None, :, :, None], camera.crosstalk)
    low, high = 1e-4, 1e2
    strength = torch.tensor(contrast)
    for _ in range(40):
        middle = (low * high) ** 0.5
        bright = 255 * tone(middle * mixed, camera.gamma, strength).mean() > level
        low, high = (low, middle) if bright else (middle, high)
    return float((low * high) ** 0.5)


def reduce_noise(levels: Tensor, before: Tensor | None, share: float) -> Tensor:
    """Mix a frame `(3, H, W)` with the one before, as far as nothing moves between them."""
    if before is None or share == 0:
        return levels
    change = levels - before
    moved = F.avg_pool2d(change.mean(0, keepdim=True)[None], 5, stride=1, padding=2)[0]
    still = torch.exp(-((moved / STILL_LEVELS) ** 2))
    return levels - share * still * change


def mix(light: Tensor, leak: float) -> Tensor:
    """Return light `(n, 3, H, W)` after neighbouring channels have leaked into each other."""
    return torch.einsum("ij,njhw->nihw", crosstalk(leak), light)


def _numpy_tone(linear: Array, gamma: float, contrast: float) -> Array:
    return tone(torch.from_numpy(linear), gamma, torch.tensor(contrast)).numpy()
