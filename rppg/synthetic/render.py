"""From maps and time courses to bytes: dichromatic reflection, then the camera.

Light `k` falls on skin with shading D_k; below the surface the skin returns the share A_c of it,
less what the blood takes; its surface returns some of the light unchanged (Wang et al.,
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

from rppg.synthetic.domains import Camera, Light
from rppg.synthetic.head import EXTENT, WALL_EXTENT, Head
from rppg.synthetic.time_courses import Courses

SURFACE = 0.03  # Fresnel reflection of skin


@dataclass(frozen=True)
class View:
    """Where the camera looks: the picture's centre `(T,)` in the scene, and its extent.

    Attributes:
        x, y: centre of the picture in face sides, per frame.
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
class Setting:
    """What is filmed, in what light, by what camera.

    Attributes:
        spill: how much of the second lamp falls on the background, against the face.
    """

    head: Head
    courses: Courses
    light: Light
    camera: Camera
    spill: float


def render(
    setting: Setting,
    view: View,
    *,
    seed: int,
    pulse_gain: float = 1.0,
    noise_gain: float = 1.0,
    chunk: int = 150,
) -> NDArray[np.uint8]:
    """Render a recording.

    Args:
        seed: of the sensor's noise.
        pulse_gain: 0 renders the same recording without a pulse.
        noise_gain: noise of one pixel, against that of a crop's pixel.
        chunk: frames rendered at a time (bounds the memory).

    Returns:
        `(T, height, width, 3)` uint8.
    """
    scene = _Scene(setting, view, pulse_gain)
    camera = setting.camera
    gain = torch.from_numpy(_exposure_gain(setting.courses, setting.light, camera)).float()
    generator = torch.Generator().manual_seed(seed)
    starts = range(0, len(setting.courses.times_s), chunk)
    spans = [(start, start + chunk) for start in starts]
    frames = [
        _expose(scene.irradiance(i, j), camera, gain[i:j], noise_gain, generator) for i, j in spans
    ]
    return np.concatenate(frames)


class _Scene:
    """The scene as tensors, ready to be looked at frame by frame."""

    def __init__(self, setting: Setting, view: View, pulse_gain: float) -> None:
        head, signature = setting.head, setting.camera.signature
        maps = np.concatenate(
            [head.albedo, head.perfusion[None], head.normal, head.gloss[None], head.alpha[None]]
        )
        self.maps = torch.from_numpy(maps).float()[None]
        self.wall = torch.from_numpy(head.wall).float()[None]
        self.setting, self.view = setting, view
        self.signature = pulse_gain * torch.tensor(signature) / max(signature)
        step = 1.0 / view.pixels_per_face / view.supersample
        columns = torch.arange(view.width * view.supersample).float()
        rows = torch.arange(view.height * view.supersample).float()
        self.dx = (columns - columns.mean()) * step
        self.dy = (rows - rows.mean()) * step

    def irradiance(self, start: int, stop: int) -> Tensor:
        """Linear light `(n, 3, H, W)` that reaches the sensor in frames `start` to `stop`."""

        def course(values: NDArray[np.float64]) -> Tensor:
            return torch.from_numpy(values[start:stop]).float()[:, None, None]

        c, light = self.setting.courses, self.setting.light
        x = course(self.view.x) + self.dx[None, None, :]
        y = course(self.view.y) + self.dy[None, :, None]
        x, y = torch.broadcast_tensors(x, y)
        wall = _look_up(self.wall, x / WALL_EXTENT, y / WALL_EXTENT)

        # Into head coordinates: shift, roll, and the turn of a surface about 0.45 face sides deep.
        u, v = x - course(c.x), y - course(c.y)
        cos, sin = torch.cos(course(c.roll)), torch.sin(course(c.roll))
        u, v = cos * u + sin * v, cos * v - sin * u
        depth = 0.45 * (1 - (u / 0.52) ** 2 - (v / 0.72) ** 2).clamp(min=0).sqrt()
        u, v = u - course(c.yaw) * depth, v - course(c.pitch) * depth
        jaw = torch.exp(-((u / 0.25) ** 2) - ((v - 0.38) / 0.14) ** 2)
        v = v - course(c.mouth) * jaw
        maps = _look_up(self.maps, u / EXTENT, v / EXTENT)
        albedo, perfusion, normal = maps[:, :3], maps[:, 3:4], maps[:, 4:7]
        gloss, alpha = maps[:, 7:8], maps[:, 8:9]

        blood = self.signature[None, :, None, None] * perfusion * course(c.pulse)[:, None]
        skin = (1 - SURFACE) * albedo * (1 - blood)
        key_shade = _shading(normal, (-0.45, -0.45, 0.77), c, start, stop)
        second_shade = _shading(normal, (0.30, 0.25, 0.92), c, start, stop)
        key_rgb = torch.tensor(light.key_rgb)[None, :, None, None]
        second_rgb = light.second * torch.tensor(light.second_rgb)[None, :, None, None]
        key, second = course(c.key)[:, None], course(c.second)[:, None]

        def reflected(shade: Tensor) -> Tensor:
            return skin * shade + SURFACE * gloss * (1.5 * shade**12)

        lit_head = key * key_rgb * (light.ambient * skin + reflected(key_shade))
        lit_wall = key * key_rgb * (light.ambient + 0.6) * wall
        if light.second:
            lit_head = lit_head + second * second_rgb * reflected(second_shade)
            lit_wall = lit_wall + second * second_rgb * self.setting.spill * wall
        lit = lit_wall + alpha * (lit_head - lit_wall)
        return F.avg_pool2d(lit, self.view.supersample) if self.view.supersample > 1 else lit


def _shading(
    normal: Tensor, direction: tuple[float, float, float], c: Courses, start: int, stop: int
) -> Tensor:
    """Lambert's cosine `(n, 1, H, W)` for a lamp, its direction turned into the head's frame."""
    lx, ly, lz = direction
    yaw, pitch = torch.from_numpy(c.yaw[start:stop]), torch.from_numpy(c.pitch[start:stop])
    lx_turned = torch.cos(yaw) * lx - torch.sin(yaw) * lz
    lz_turned = torch.cos(yaw) * lz + torch.sin(yaw) * lx
    ly_turned = torch.cos(pitch) * ly - torch.sin(pitch) * lz_turned
    lz_turned = torch.cos(pitch) * lz_turned + torch.sin(pitch) * ly
    turned = torch.stack([lx_turned, ly_turned, lz_turned], 1).float()
    return (normal * turned[:, :, None, None]).sum(1, keepdim=True).clamp(min=0)


def _look_up(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Values `(n, C, H, W)` of maps `(1, C, h, w)` at positions in −1..1, edges repeated."""
    grid = torch.stack([x, y], -1)
    return F.grid_sample(
        maps.expand(len(grid), -1, -1, -1), grid, padding_mode="border", align_corners=False
    )


def _exposure_gain(courses: Courses, light: Light, camera: Camera) -> NDArray[np.float64]:
    """Gain `(T,)` of an automatic exposure that follows the mean light with a delay of 1 s."""
    mean_light = (courses.key + light.second * courses.second) / (1 + light.second)
    times_s, gain = courses.times_s, np.empty_like(mean_light)
    seen = mean_light[0]
    for i, now in enumerate(mean_light):
        step_s = times_s[i] - times_s[i - 1] if i else 0.0
        seen += (now - seen) * (1 - math.exp(-step_s))
        gain[i] = seen ** (-camera.auto_exposure)
    return gain


def _expose(
    irradiance: Tensor,
    camera: Camera,
    gain: Tensor,
    noise_gain: float,
    generator: torch.Generator,
) -> NDArray[np.uint8]:
    """Linear light `(n, 3, H, W)` to bytes `(n, H, W, 3)`: crosstalk, gain, tone curve, noise."""
    leak = camera.crosstalk
    mix = torch.tensor([[1 - leak, leak, 0], [leak, 1 - 2 * leak, leak], [0, leak, 1 - leak]])
    seen = torch.einsum("ij,njhw->nhwi", mix, irradiance)
    seen = seen * (camera.exposure * gain)[:, None, None, None]
    tone = seen.clamp(1e-5, 1).pow(1 / camera.gamma)
    # Shot noise in linear light, seen through the tone curve: larger in the shadows.
    noise = torch.randn(tone.shape, generator=generator)
    noisy = (
        255 * tone + noise_gain * camera.noise_levels * (0.5 / tone.clamp(min=0.1)).sqrt() * noise
    )
    return np.asarray(noisy.round_().clamp_(0, 255).to(torch.uint8).numpy())
