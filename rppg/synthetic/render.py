"""Rendering of maps and time series to frames: dichromatic reflection, then a camera model.

Light `k` falls on skin with shading D_k. Below the surface the skin reflects the share A_c of it,
minus the absorption of the blood. The surface reflects a part of the light unchanged (Wang et al.,
"Algorithmic principles of remote PPG", 2017, equation 3):

    E_c(x, t) = Σ_k L_kc(t) · (D_k(x, t) · A_c(x) · (1 − h_c · b(x) · p(t)) + G_k(x, t))
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from rppg.synthetic.display import Bands, Screen
from rppg.synthetic.domains import Camera, Light, Rgb
from rppg.synthetic.head import EXTENT, WALL_EXTENT, Head, Surface
from rppg.synthetic.pulse_motion_light import TimeSeries

SURFACE = 0.03
"""Fresnel reflection of skin."""


@dataclass(frozen=True)
class Viewport:
    """The part of the scene in the frame: its centre `(T,)` and its extent.

    Attributes:
        x, y: centre of each frame in face sides.
        width, height: pixels.
        pixels_per_face: pixels per side of the face box.
        supersample: rays per pixel and direction, against aliasing.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    width: int
    height: int
    pixels_per_face: float
    supersample: int = 1


@dataclass(frozen=True)
class Body:
    """Something else in the picture: a hand, another person.

    Attributes:
        surface: its maps.
        series: its pulse, its motion and the light on it, at the times of the head's series.
        in_front: whether it covers the head; else the head covers it.
        scale: its size; at 1, the maps are in face sides, as the head's.
    """

    surface: Surface
    series: TimeSeries
    in_front: bool
    scale: float = 1.0


@dataclass(frozen=True)
class Additions:
    """What may be in a scene beside a head and a wall. The domains have none of it.

    Attributes:
        bodies: what else is in the picture; of those on one side of the head, later ones cover
            earlier ones.
        wall_gain: `(T,)` brightness of the light on the wall, relative to that on the head.
        bands: bands that run over the whole picture.
        screen: a screen that shows the scene; the camera sees the screen.
    """

    bodies: tuple[Body, ...] = ()
    wall_gain: NDArray[np.float64] | None = None
    bands: Bands | None = None
    screen: Screen | None = None


NO_ADDITIONS = Additions()


@dataclass(frozen=True)
class SceneSetup:
    """The scene to render: a head, its time series, light and camera.

    Attributes:
        spill: the second lamp's share on the background, relative to the face.
    """

    head: Head
    series: TimeSeries
    light: Light
    camera: Camera
    spill: float
    additions: Additions = NO_ADDITIONS


def render(
    setup: SceneSetup,
    viewport: Viewport,
    *,
    seed: int,
    pulse_gain: float = 1.0,
    noise_gain: float = 1.0,
    chunk: int = 150,
) -> NDArray[np.uint8]:
    """Render a recording.

    Args:
        seed: seed of the sensor's noise.
        pulse_gain: factor on the pulse; 0 renders the same recording without a pulse.
        noise_gain: noise of one pixel, relative to a pixel of a crop.
        chunk: number of frames rendered at a time, which bounds the memory.

    Returns:
        `(T, height, width, 3)` uint8.
    """
    scene = SceneTensors(setup, viewport, pulse_gain)
    camera = setup.camera
    gain = torch.from_numpy(exposure_gain(setup.series, setup.light, camera)).float()
    generator = torch.Generator().manual_seed(seed)
    starts = range(0, len(setup.series.times_s), chunk)
    chunks = [(start, start + chunk) for start in starts]
    frames = [
        _expose(scene.irradiance(i, j), camera, gain[i:j], noise_gain, generator) for i, j in chunks
    ]
    return np.concatenate(frames)


class SceneTensors:
    """The scene as tensors, from which frames are computed."""

    def __init__(self, setup: SceneSetup, viewport: Viewport, pulse_gain: float) -> None:
        head, signature = setup.head, setup.camera.signature
        bodies, screen = setup.additions.bodies, setup.additions.screen
        self.layers = [  # from back to front
            *((body, _stack(body.surface)) for body in bodies if not body.in_front),
            (Body(head.surface, setup.series, in_front=False), _stack(head.surface)),
            *((body, _stack(body.surface)) for body in bodies if body.in_front),
        ]
        self.wall = torch.from_numpy(head.wall).float()[None]
        if screen:
            self.room_wall = torch.from_numpy(screen.wall).float()[None]
        self.setup, self.viewport = setup, viewport
        self.signature = pulse_gain * torch.tensor(signature) / max(signature)
        step = 1.0 / viewport.pixels_per_face / viewport.supersample
        columns = torch.arange(viewport.width * viewport.supersample).float()
        rows = torch.arange(viewport.height * viewport.supersample).float()
        self.dx = (columns - columns.mean()) * step
        self.dy = (rows - rows.mean()) * step

    def irradiance(self, start: int, stop: int) -> Tensor:
        """Return the linear light `(n, 3, H, W)` at the sensor, for frames `start..stop`."""
        light, column = self.setup.light, _Columns(start, stop)
        x = column(self.viewport.x) + self.dx[None, None, :]
        y = column(self.viewport.y) + self.dy[None, :, None]
        x, y = torch.broadcast_tensors(x, y)
        wall = _look_up(self.wall, x / WALL_EXTENT, y / WALL_EXTENT)
        setup, series, additions = self.setup, self.setup.series, self.setup.additions
        lit = column(series.key)[:, None] * _rgb(light.key_rgb) * (light.ambient + 0.6) * wall
        if light.second:
            second_rgb = light.second * _rgb(light.second_rgb)
            lit = lit + column(series.second)[:, None] * second_rgb * setup.spill * wall
        if additions.wall_gain is not None:
            lit = lit * column(additions.wall_gain)[:, None]
        for body, maps in self.layers:
            lit_body, alpha = self._lit_body(body, maps, x, y, column)
            lit = lit + alpha * (lit_body - lit)
        if screen := additions.screen:
            wall = _look_up(self.room_wall, x / WALL_EXTENT, y / WALL_EXTENT)
            room = column(screen.room)[:, None] * _rgb(light.key_rgb) * (light.ambient + 0.6) * wall
            lit = screen.show(lit, room, x, y, column(screen.bands.phase))
        if bands := additions.bands:
            lit = lit * bands.factor(y, column(bands.phase))
        supersample = self.viewport.supersample
        return F.avg_pool2d(lit, supersample) if supersample > 1 else lit

    def _lit_body(
        self, body: Body, maps: Tensor, x: Tensor, y: Tensor, column: "_Columns"
    ) -> tuple[Tensor, Tensor]:
        """Return the light `(n, 3, H, W)` from a body, and where it is, `(n, 1, H, W)` in 0..1."""
        s, light = body.series, self.setup.light
        # To the body's coordinates: shift, roll, and rotation of a surface about 0.45 sides deep.
        u, v = x - column(s.x), y - column(s.y)
        if body.scale != 1:
            u, v = u / body.scale, v / body.scale
        cos, sin = torch.cos(column(s.roll)), torch.sin(column(s.roll))
        u, v = cos * u + sin * v, cos * v - sin * u
        depth = 0.45 * (1 - (u / 0.52) ** 2 - (v / 0.72) ** 2).clamp(min=0).sqrt()
        u, v = u - column(s.yaw) * depth, v - column(s.pitch) * depth
        jaw = torch.exp(-((u / 0.25) ** 2) - ((v - 0.38) / 0.14) ** 2)
        v = v - column(s.mouth) * jaw
        maps = _look_up(maps, u / EXTENT, v / EXTENT)
        albedo, perfusion, normal = maps[:, :3], maps[:, 3:4], maps[:, 4:7]
        gloss, alpha = maps[:, 7:8], maps[:, 8:9]

        blood = self.signature[None, :, None, None] * perfusion * column(s.pulse)[:, None]
        skin = (1 - SURFACE) * albedo * (1 - blood)
        shown = slice(column.start, column.stop)
        yaw, pitch = torch.from_numpy(s.yaw[shown]), torch.from_numpy(s.pitch[shown])
        key_shade = _shading(normal, (-0.45, -0.45, 0.77), yaw, pitch)
        second_shade = _shading(normal, (0.30, 0.25, 0.92), yaw, pitch)
        key, second = column(s.key)[:, None], column(s.second)[:, None]

        def reflected(shade: Tensor) -> Tensor:
            return skin * shade + SURFACE * gloss * (1.5 * shade**12)

        lit = key * _rgb(light.key_rgb) * (light.ambient * skin + reflected(key_shade))
        if light.second:
            lit = lit + second * (light.second * _rgb(light.second_rgb)) * reflected(second_shade)
        return lit, alpha


@dataclass(frozen=True)
class _Columns:
    """Time series as tensors: the frames `start..stop` as `(n, 1, 1)`."""

    start: int
    stop: int

    def __call__(self, values: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(values[self.start : self.stop]).float()[:, None, None]


def _stack(surface: Surface) -> Tensor:
    """Return a surface's maps as one tensor `(1, 9, SIZE, SIZE)`."""
    perfusion, gloss, alpha = surface.perfusion[None], surface.gloss[None], surface.alpha[None]
    maps = np.concatenate([surface.albedo, perfusion, surface.normal, gloss, alpha])
    return torch.from_numpy(maps).float()[None]


def _rgb(colour: Rgb) -> Tensor:
    return torch.tensor(colour)[None, :, None, None]


def _shading(
    normal: Tensor, direction: tuple[float, float, float], yaw: Tensor, pitch: Tensor
) -> Tensor:
    """Return Lambert's cosine `(n, 1, H, W)` for a lamp whose direction rotates with the head."""
    lx, ly, lz = direction
    lx_rotated = torch.cos(yaw) * lx - torch.sin(yaw) * lz
    lz_rotated = torch.cos(yaw) * lz + torch.sin(yaw) * lx
    ly_rotated = torch.cos(pitch) * ly - torch.sin(pitch) * lz_rotated
    lz_rotated = torch.cos(pitch) * lz_rotated + torch.sin(pitch) * ly
    rotated = torch.stack([lx_rotated, ly_rotated, lz_rotated], 1).float()
    return (normal * rotated[:, :, None, None]).sum(1, keepdim=True).clamp(min=0)


def _look_up(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sample maps `(1, C, h, w)` at positions in −1..1, with repeated edges, to `(n, C, H, W)`."""
    grid = torch.stack([x, y], -1)
    return F.grid_sample(
        maps.expand(len(grid), -1, -1, -1), grid, padding_mode="border", align_corners=False
    )


def exposure_gain(series: TimeSeries, light: Light, camera: Camera) -> NDArray[np.float64]:
    """Return the gain `(T,)` of an automatic exposure that follows the light with 1 s delay."""
    mean_light = (series.key + light.second * series.second) / (1 + light.second)
    times_s, gain = series.times_s, np.empty_like(mean_light)
    smoothed = mean_light[0]
    for i, current in enumerate(mean_light):
        step_s = times_s[i] - times_s[i - 1] if i else 0.0
        smoothed += (current - smoothed) * (1 - math.exp(-step_s))
        gain[i] = smoothed ** (-camera.auto_exposure)
    return gain


def crosstalk(leak: float) -> Tensor:
    """Return the shares `(3, 3)` of R, G, B in each channel, if neighbours leak into each other."""
    return torch.tensor([[1 - leak, leak, 0], [leak, 1 - 2 * leak, leak], [0, leak, 1 - leak]])


def _expose(
    irradiance: Tensor,
    camera: Camera,
    gain: Tensor,
    noise_gain: float,
    generator: torch.Generator,
) -> NDArray[np.uint8]:
    """Convert light `(n, 3, H, W)` to bytes `(n, H, W, 3)`: crosstalk, gain, tone curve, noise."""
    light = torch.einsum("ij,njhw->nhwi", crosstalk(camera.crosstalk), irradiance)
    light = light * (camera.exposure * gain)[:, None, None, None]
    tone = light.clamp(1e-5, 1).pow(1 / camera.gamma)
    # Shot noise in linear light is larger in the shadows after the tone curve.
    noise = torch.randn(tone.shape, generator=generator)
    noisy = (
        255 * tone + noise_gain * camera.noise_levels * (0.5 / tone.clamp(min=0.1)).sqrt() * noise
    )
    return np.asarray(noisy.round_().clamp_(0, 255).to(torch.uint8).numpy())
