"""Maps of a head and of the wall behind it, drawn once per subject.

Head coordinates are in units of the face box's side, origin at its centre, x right, y down. The
maps cover `EXTENT` in each direction.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rppg.synthetic.smooth_noise import texture

EXTENT = 0.8
SIZE = 112
WALL_EXTENT = 3.0
WALL_SIZE = 192
COLLAR_Y = 0.70
"""Where the neck ends in the clothes of `dress`."""

Array = NDArray[np.float64]

MELANIN_RGB = np.array([0.55, 0.95, 1.35])
"""Relative optical density of melanin."""
BARE_SKIN_RGB = np.array([0.78, 0.56, 0.46])
"""Reflectance of skin without melanin."""


@dataclass(frozen=True)
class Surface:
    """Maps of a surface in the picture, each `(SIZE, SIZE)` or `(3, SIZE, SIZE)`.

    Attributes:
        alpha: 1 on the surface, 0 outside.
        albedo: linear reflectance in R, G, B below the surface.
        perfusion: relative pulse amplitude; 0 on hair, eyes and brows.
        normal: unit surface normals x, y, z (z towards the camera).
        gloss: strength of the surface reflection.
    """

    alpha: Array
    albedo: Array
    perfusion: Array
    normal: Array
    gloss: Array


@dataclass(frozen=True)
class Head:
    """Maps of a head, as in `Surface`, and the wall behind it.

    Attributes:
        wall: `(3, WALL_SIZE, WALL_SIZE)` reflectance of the background.
    """

    alpha: Array
    albedo: Array
    perfusion: Array
    normal: Array
    gloss: Array
    wall: Array

    @property
    def surface(self) -> Surface:
        """The head without the wall."""
        return Surface(self.alpha, self.albedo, self.perfusion, self.normal, self.gloss)


def ellipse(x: Array, y: Array, cx: float, cy: float, ax: float, ay: float, soft: float) -> Array:
    """Return a mask of an ellipse with a soft edge, 1 inside."""
    radius = np.sqrt(((x - cx) / ax) ** 2 + ((y - cy) / ay) ** 2)
    return np.asarray(np.clip((1 - radius) * min(ax, ay) / soft + 0.5, 0, 1))


def map_positions() -> tuple[Array, Array]:
    """Return the positions x and y of a map's pixels, each `(SIZE, SIZE)`."""
    axis = (np.arange(SIZE) + 0.5) / SIZE * 2 * EXTENT - EXTENT
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return x, y


def surface_normals(height: Array) -> Array:
    """Return the unit normals `(3, SIZE, SIZE)` of a map of heights in face sides."""
    x, y = map_positions()
    slope_y, slope_x = np.gradient(height, y[:, 0], x[0])
    normal = np.stack([-slope_x, -slope_y, np.ones_like(height)])
    return np.asarray(normal / np.linalg.norm(normal, axis=0))


def draw_head(rng: np.random.Generator, skin_type: int) -> Head:
    """Draw the maps of a person of Fitzpatrick skin type 1–6 in front of a random wall."""
    x, y = map_positions()
    half_width = rng.uniform(0.34, 0.40)
    face = ellipse(x, y, 0, 0.02, half_width, 0.50, 0.03)
    hair_line = rng.uniform(-0.40, -0.30)
    skull = ellipse(x, y, 0, -0.08, half_width + 0.06, 0.54, 0.03)
    neck = ellipse(x, y, 0, 0.65, 0.24, 0.35, 0.03)
    hair = np.clip(skull - face, 0, 1) * (y < 0.1) + skull * np.clip((hair_line - y) / 0.05, 0, 1)
    hair = np.clip(hair, 0, 1)
    beard = np.zeros_like(x)
    if rng.random() < 0.25:
        beard = rng.uniform(0.3, 0.9) * face * np.clip((y - 0.18) / 0.08, 0, 1)

    melanin = 0.12 + 0.24 * (skin_type - 1) + 0.06 * rng.standard_normal()
    density = np.clip(
        melanin * (1 + 0.06 * texture(rng, SIZE, 6) + 0.06 * texture(rng, SIZE, 1.5)), 0.02, None
    )
    skin = BARE_SKIN_RGB[:, None, None] * np.exp(-MELANIN_RGB[:, None, None] * density)
    hair_rgb = np.array([1.0, 0.8, 0.65]) * rng.uniform(0.02, 0.25)
    hair_map = hair_rgb[:, None, None] * np.exp(0.3 * texture(rng, SIZE, 1.0))

    eyes = brows = np.zeros_like(x)
    for side in (-1.0, 1.0):
        eyes = np.maximum(eyes, ellipse(x, y, side * 0.17, -0.10, 0.07, 0.03, 0.015))
        brows = np.maximum(brows, ellipse(x, y, side * 0.17, -0.20, 0.10, 0.022, 0.015))
    mouth = ellipse(x, y, 0, 0.27, 0.12, 0.035, 0.02)
    nostrils = ellipse(x, y, 0, 0.10, 0.06, 0.02, 0.02)

    albedo = skin
    for mask, colour in (
        (mouth, np.array([0.75, 0.45, 0.45])[:, None, None] * skin),
        (nostrils, 0.5 * skin),
        (eyes, np.array([0.25, 0.22, 0.20])[:, None, None] * np.ones_like(skin)),
        (0.8 * brows, hair_map),
        (beard, hair_map),
        (hair, hair_map),
    ):
        albedo = albedo * (1 - mask) + colour * mask

    cheeks = sum(ellipse(x, y, s * 0.2, 0.08, 0.16, 0.14, 0.15) for s in (-1.0, 1.0))
    forehead = ellipse(x, y, 0, -0.27, 0.26, 0.10, 0.1)
    perfusion = 0.7 + 0.4 * cheeks + 0.3 * forehead + 0.12 * texture(rng, SIZE, 8)
    perfusion = np.clip(perfusion, 0.2, None) * (1 - np.maximum(eyes, 0.9 * brows)) * (1 - hair)
    perfusion = perfusion * (1 - beard)

    bulge = np.clip(1 - (x / 0.52) ** 2 - (y / 0.72) ** 2, 0.05, None)
    nose = np.exp(-((x / 0.05) ** 2) - ((y - 0.03) / 0.10) ** 2)
    height = 0.45 * np.sqrt(bulge) + 0.06 * nose

    return Head(
        alpha=np.clip(np.maximum(np.maximum(face, skull), neck), 0, 1),
        albedo=albedo,
        perfusion=perfusion,
        normal=surface_normals(height),
        gloss=(1 - hair) * (1 - eyes) * rng.uniform(0.5, 1.5),
        wall=draw_wall(rng),
    )


def dress(rng: np.random.Generator, head: Head) -> Head:
    """Draw shoulders with clothes below the neck, on the wall, for frames that show them."""
    axis = ((np.arange(WALL_SIZE) + 0.5) / WALL_SIZE * 2 - 1) * WALL_EXTENT
    x, y = axis[None, :], axis[:, None]
    slope = rng.uniform(0.15, 0.25) * x**2
    body = np.clip((y - COLLAR_Y + 0.14 - slope) / 0.05, 0, 1) * (np.abs(x) < rng.uniform(0.9, 1.1))
    colour = rng.uniform(0.05, 0.5) * rng.uniform(0.6, 1.4, (3, 1, 1))
    cloth = np.clip(colour * (1 + 0.1 * texture(rng, WALL_SIZE, 1.0)), 0.01, 0.95)
    _, head_y = map_positions()
    neck = np.clip((COLLAR_Y - head_y) / 0.03 + 0.5, 0, 1)
    return replace(head, alpha=head.alpha * neck, wall=head.wall + body * (cloth - head.wall))


def draw_wall(rng: np.random.Generator) -> Array:
    """Draw a wall with a few rectangles of other colours and some texture."""
    wall = np.empty((3, WALL_SIZE, WALL_SIZE))
    wall[:] = rng.uniform(0.25, 0.7) * rng.uniform(0.85, 1.15, (3, 1, 1))
    for _ in range(rng.integers(3, 9)):
        top, left = rng.integers(0, WALL_SIZE - 10, 2)
        height, width = rng.integers(8, WALL_SIZE // 2, 2)
        colour = rng.uniform(0.1, 0.7) * rng.uniform(0.7, 1.3, (3, 1, 1))
        wall[:, top : top + height, left : left + width] = colour
    return np.clip(wall * (1 + 0.05 * texture(rng, WALL_SIZE, 1.5)), 0.02, 0.95)
