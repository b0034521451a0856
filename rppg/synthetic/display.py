"""Bands of brightness that run down the picture, and a screen that shows the scene."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]

SCREEN_LEVEL = 0.5
"""Linear light that a screen's gamma leaves as it is."""


@dataclass(frozen=True)
class Bands:
    """Sinusoidal bands of brightness that run down the picture.

    Attributes:
        amplitude: as a share of the brightness.
        phase: `(T,)` radians, at the scene's centre.
        per_face: radians per face side, downwards.
    """

    amplitude: float
    phase: Array
    per_face: float

    def factor(self, y: Tensor, phase: Tensor) -> Tensor:
        """Return the brightness `(n, 1, H, W)` at rows `y` `(n, H, W)`, for phases `(n, 1, 1)`."""
        return (1 + self.amplitude * torch.sin(phase + self.per_face * y))[:, None]


@dataclass(frozen=True)
class Screen:
    """A screen at rest that shows the scene, in a room with a wall of its own.

    Attributes:
        half_width, half_height: in face sides; its centre is the scene's.
        brightness: colour of the screen's light, 1 as the scene itself.
        gamma: what is shown is the scene's light to this power.
        bands: the beat of its refresh with the camera's frames; on the screen only.
        wall: `(3, h, w)` reflectance of the room's wall, as `Head.wall`.
        room: `(T,)` brightness of the key lamp in the room.
    """

    half_width: float
    half_height: float
    brightness: tuple[float, float, float]
    gamma: float
    bands: Bands
    wall: Array
    room: Array

    def show(self, scene: Tensor, room: Tensor, x: Tensor, y: Tensor, phase: Tensor) -> Tensor:
        """Return the light `(n, 3, H, W)` of the screen and of the room beside it.

        Args:
            scene, room: `(n, 3, H, W)` light of the scene that is shown, and of the room.
            x, y: `(n, H, W)` positions in face sides.
            phase: `(n, 1, 1)` phase of the bands.
        """
        colour = torch.tensor(self.brightness)[None, :, None, None] * SCREEN_LEVEL
        shown = colour * (scene / SCREEN_LEVEL).clamp(min=1e-4).pow(self.gamma)
        shown = shown * self.bands.factor(y, phase)
        soft = 0.03
        inside = ((self.half_width - x.abs()) / soft + 0.5).clamp(0, 1)
        inside = inside * ((self.half_height - y.abs()) / soft + 0.5).clamp(0, 1)
        return room + inside[:, None] * (shown - room)
