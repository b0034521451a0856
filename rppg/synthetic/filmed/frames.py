"""Whole frames of a filmed recording, one at a time.

Only a square around the head is rendered for every frame, at `FACE_PX` pixels per face box at most,
which is as fine as the head's maps; larger faces are enlarged, and get the grain of skin and hair
from a map of their own. The rest of the frame is rendered once, with several draws of its noise,
and each frame shows one of them, shifted and as bright as the light and the camera are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from rppg.synthetic.filmed.film import Film
from rppg.synthetic.filmed.sensor import Sensor, exposure_for, mix, reduce_noise
from rppg.synthetic.head import EXTENT, SIZE
from rppg.synthetic.render import SceneSetup, SceneTensors, Viewport, exposure_gain
from rppg.synthetic.smooth_noise import texture

Array = NDArray[np.float64]
Frame = NDArray[np.uint8]

FACE_PX = 64
CHUNK = 8
REACH, REACH_BESIDE = 0.85, 1.5
"""Half the side of the square around the head, in face sides; the second with others beside it."""
GRAIN, GRAIN_SIZE = 0.03, 256
"""Deviation of the grain's reflectance, and pixels of its map."""
PHASES = 4
"""Positions of the background within a pixel, in each direction."""
STILL_DRAWS = 12
"""Draws of the background's noise, if it doesn't move."""


@dataclass(frozen=True)
class Square:
    """The square around the head that is rendered for every frame, in the frame's pixels."""

    left: int
    top: int
    side: int


def square_around(setup: SceneSetup, film: Film) -> Square:
    """Return a square that the head stays in. It may reach beyond the frame."""
    beside = setup.additions.bodies or setup.additions.screen
    moved = max(np.abs(p).max() for p in (setup.series.x, setup.series.y))
    shaken = max(np.abs(p).max() for p in (film.shake_x, film.shake_y))
    reach = (REACH_BESIDE if beside else REACH) + moved + shaken
    half = int(np.ceil(reach * film.conditions.face_px))
    x, y = film.conditions.centre
    return Square(int(x) - half, int(y) - half, 2 * half)


def film_squares(
    setup: SceneSetup, film: Film, *, seed: int, pulse_gain: float = 1.0
) -> Iterator[Frame]:
    """Yield the square around the head `(side, side, 3)` of each frame.

    Args:
        seed: seed of the sensor's noise.
        pulse_gain: factor on the pulse; 0 films the same recording without a pulse.
    """
    conditions = film.conditions
    square, face = square_around(setup, film), conditions.face_px
    coarse = round(square.side * min(1.0, FACE_PX / face))
    viewport = Viewport(
        x=-film.shake_x,
        y=-film.shake_y,
        width=coarse,
        height=coarse,
        pixels_per_face=face * coarse / square.side,
    )
    scene = SceneTensors(setup, viewport, pulse_gain)
    sensor, gains = _sensor(setup, film), _gains(setup, film)
    contrast = torch.from_numpy(film.contrast).float()
    grain = torch.from_numpy(_grain(setup, seed)).float()[None, None]
    generator = torch.Generator().manual_seed(seed)
    before: Tensor | None = None
    count = len(setup.series.times_s)
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        light = mix(scene.irradiance(start, stop), setup.camera.crosstalk)
        if coarse != square.side:
            light = F.interpolate(light, size=(square.side,) * 2, mode="bilinear")
        light = light * (1 + _grain_in(setup, film, grain, square, start, stop))
        gain = torch.from_numpy(gains[start:stop]).float()[:, :, None, None]
        strength = contrast[start:stop, None, None, None]
        for levels in sensor.expose(light, gain, strength, generator):
            before = reduce_noise(levels, before, conditions.denoise)
            yield _bytes(before)


def film_frames(
    setup: SceneSetup, film: Film, *, seed: int, pulse_gain: float = 1.0
) -> Iterator[Frame]:
    """Yield the whole frames `(height, width, 3)`. Arguments as in `film_squares`."""
    conditions = film.conditions
    width, height = conditions.width, conditions.height
    square = square_around(setup, film)
    background = _Background(setup, film, seed)
    left, top = max(0, square.left), max(0, square.top)
    right, bottom = min(width, square.left + square.side), min(height, square.top + square.side)
    inside = np.s_[top - square.top : bottom - square.top, left - square.left : right - square.left]
    squares = film_squares(setup, film, seed=seed, pulse_gain=pulse_gain)
    for index, part in enumerate(squares):
        frame = background.frame(index)
        frame[top:bottom, left:right] = part[inside]
        yield frame


class _Background:
    """Everything beside the square around the head: a still scene, shifted and made as bright."""

    def __init__(self, setup: SceneSetup, film: Film, seed: int) -> None:
        conditions = film.conditions
        self.width, self.height = conditions.width, conditions.height
        face, count = conditions.face_px, len(setup.series.times_s)
        shift = np.stack([film.shake_y, film.shake_x], 1) * face
        self.margin = int(np.ceil(np.abs(shift).max())) + 1
        # The frame shows the scene from `margin - shift` pixels on.
        quarters = np.rint((self.margin - shift) * PHASES).astype(int)
        self.whole, self.phase = np.divmod(quarters, PHASES)
        self.moves = bool(shift.any())
        rows, columns = self.height + 2 * self.margin + 1, self.width + 2 * self.margin + 1
        x, y = conditions.centre
        centre_x = ((columns - 1) / 2 - self.margin - x + 0.5) / face
        centre_y = ((rows - 1) / 2 - self.margin - y + 0.5) / face
        viewport = Viewport(
            np.full(count, centre_x), np.full(count, centre_y), columns, rows, float(face)
        )
        light = SceneTensors(setup, viewport, 0.0).irradiance(0, 1)
        self.light = mix(light, setup.camera.crosstalk)
        self.sensor, self.first = _sensor(setup, film), float(film.contrast.mean())
        self.noise = float(np.sqrt((1 - conditions.denoise) / (1 + conditions.denoise)))
        self.contrast = film.contrast
        self.gains = _gains(setup, film) * _wall_light(setup)
        self.generator = torch.Generator().manual_seed(seed + 1)
        self.choices = np.random.default_rng(seed).integers(1, STILL_DRAWS, count).cumsum()
        self.drawn: dict[tuple[int, ...], list[Frame]] = {}

    def frame(self, index: int) -> Frame:
        """Return a new frame `(height, width, 3)`."""
        draw = int(self.choices[index] % STILL_DRAWS)
        key = tuple(map(int, self.phase[index])) if self.moves else (draw,)
        if key not in self.drawn:
            self.drawn[key] = self._draw(self.phase[index])
        top, left = self.whole[index]
        tables = self.sensor.levels_after(
            np.arange(256.0), self.gains[index], float(self.contrast[index]), self.first
        )
        frame = np.empty((self.height, self.width, 3), np.uint8)
        for channel, plane in enumerate(self.drawn[key]):
            part = plane[top : top + self.height, left : left + self.width]
            table = np.rint(tables[channel]).astype(np.uint8).tobytes()
            shown = np.frombuffer(part.tobytes().translate(table), np.uint8)
            frame[:, :, channel] = shown.reshape(part.shape)
        return frame

    def _draw(self, phase: NDArray[np.int64]) -> list[Frame]:
        """Expose the scene, moved by a part of a pixel, with noise of its own, by channel."""
        y, x = (float(part) / PHASES for part in phase)
        light = (1 - y) * self.light[:, :, :-1] + y * self.light[:, :, 1:]
        light = (1 - x) * light[..., :-1] + x * light[..., 1:]
        one, strength = torch.ones(1, 3, 1, 1), torch.tensor(self.first)
        noisy = self.sensor.expose(light, one, strength, self.generator)
        if self.noise < 1:
            clean = self.sensor.expose(light, one, strength, None)
            noisy = clean + self.noise * (noisy - clean)
        return list(noisy[0].round().clamp(0, 255).to(torch.uint8).numpy())


def _sensor(setup: SceneSetup, film: Film) -> Sensor:
    """Return the sensor, with the exposure that gives the face's skin the drawn level."""
    series, conditions = setup.series, film.conditions
    view = Viewport(series.x, series.y, SIZE, SIZE, SIZE / (2 * EXTENT))
    light = SceneTensors(setup, view, 0.0).irradiance(0, 1)[0]
    axis = (torch.arange(SIZE) + 0.5) / SIZE * 2 * EXTENT - EXTENT
    face = torch.hypot(axis[:, None] / 0.40, axis[None, :] / 0.28) < 1
    skin = light[:, face].median(1, keepdim=True).values
    exposure = exposure_for(conditions.skin_level, skin, setup.camera, film.contrast.mean())
    return Sensor(setup.camera, exposure, conditions.full_well, conditions.read_noise)


def _gains(setup: SceneSetup, film: Film) -> Array:
    """Return the gains `(T, 3)` of the channels."""
    automatic = exposure_gain(setup.series, setup.light, setup.camera)
    return np.asarray((automatic * film.gain)[:, None] * film.white_balance)


def _wall_light(setup: SceneSetup) -> Array:
    """Return the light `(T, 3)` on the wall, 1 in the first frame."""
    light, series = setup.light, setup.series
    lit = series.key[:, None] * np.array(light.key_rgb) * (light.ambient + 0.6)
    if light.second:
        second_rgb = light.second * np.array(light.second_rgb)
        lit = lit + series.second[:, None] * second_rgb * setup.spill
    if setup.additions.wall_gain is not None:
        lit = lit * setup.additions.wall_gain[:, None]
    return np.asarray(lit / lit[0])


def _grain(setup: SceneSetup, seed: int) -> Array:
    """Draw the relative grain of skin and hair `(GRAIN_SIZE, GRAIN_SIZE)`, 0 beside the head."""
    index = (np.arange(GRAIN_SIZE) * SIZE) // GRAIN_SIZE
    alpha = setup.head.alpha[np.ix_(index, index)]
    return GRAIN * alpha * texture(np.random.default_rng(seed), GRAIN_SIZE, 0.7)


def _grain_in(
    setup: SceneSetup, film: Film, grain: Tensor, square: Square, start: int, stop: int
) -> Tensor:
    """Return the grain `(n, 1, side, side)` on the moving head."""
    series, half = setup.series, square.side / 2 / film.conditions.face_px
    x = (film.shake_x + series.x)[start:stop]
    y = (film.shake_y + series.y)[start:stop]
    cos, sin = np.cos(series.roll[start:stop]), np.sin(series.roll[start:stop])
    matrix = np.stack(
        [
            np.stack([half * cos, half * sin, -cos * x - sin * y], 1),
            np.stack([-half * sin, half * cos, sin * x - cos * y], 1),
        ],
        1,
    )
    theta = torch.from_numpy(matrix / EXTENT).float()
    grid = F.affine_grid(theta, [len(theta), 1, square.side, square.side], align_corners=False)
    return F.grid_sample(grain.expand(len(theta), -1, -1, -1), grid, align_corners=False)


def _bytes(levels: Tensor) -> Frame:
    """Return levels `(3, H, W)` as `(H, W, 3)` bytes."""
    return np.asarray(levels.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy())
