"""Motion of the head, measured from the crops: motion is found, a pulse is not mistaken for it."""

import math

import pytest
import torch
from torch import Tensor

from rppg.models.fcus import FcusNet, ModelConfig
from rppg.models.motion import KINDS, apparent_motion
from rppg.models.patches import ac_dc, face_prior

GRID, FRAMES = 18, 150
TIME = torch.arange(FRAMES) / 30


def wave(hz: float) -> Tensor:
    return torch.sin(2 * math.pi * hz * TIME)


def image(x: Tensor, y: Tensor) -> Tensor:
    """A smooth head with features, in three colours, at places in sides from the crop's centre."""
    head = torch.sigmoid((1 - torch.sqrt((y / 0.37) ** 2 + (x / 0.28) ** 2)) / 0.15)
    eyes = sum(torch.exp(-((x - s) ** 2 + (y + 0.07) ** 2) / 0.006) for s in (-0.11, 0.11))
    grey = 60 + 100 * head - 50 * eyes + 15 * torch.sin(9 * x + 5 * y)
    return grey * torch.tensor([1.0, 0.8, 0.6])[:, None, None]


def film(motion: Tensor) -> Tensor:
    """Clips `(1, T, 3, G, G)` of the image under motion `(4, T)`."""
    axis = (torch.arange(GRID) + 0.5) / GRID - 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    frames = []
    for right, down, growth, turn in motion.T:
        dx = right + 2 * x * growth - 2 * y * turn
        dy = down + 2 * y * growth + 2 * x * turn
        frames.append(image(x - dx, y - dy))
    return torch.stack(frames)[None]


@pytest.mark.parametrize("kind", range(KINDS))
def test_each_kind_of_motion_is_measured(kind: int) -> None:
    motion = torch.zeros(KINDS, FRAMES)
    motion[kind] = 0.003 * wave(1.1)
    found = apparent_motion(*ac_dc(film(motion)))[0]
    scale = float((found[kind] * motion[kind]).sum() / motion[kind].square().sum())
    assert scale == pytest.approx(1, abs=0.3)  # patches are coarse against the eyes
    rest = found - scale * motion
    assert float(rest.norm()) < 0.45 * float(motion.norm())


def test_light_and_pulse_are_not_taken_for_motion() -> None:
    still = film(torch.zeros(KINDS, FRAMES))
    face = face_prior(GRID)
    pulse = 0.005 * wave(1.1)[None, :, None, None, None]
    blood = torch.tensor([0.33, 0.77, 0.53])[:, None, None] * face
    lamp = 0.01 * wave(1.7)[None, :, None, None, None]
    clip = still * (1 - pulse * blood) * (1 + lamp)
    found = apparent_motion(*ac_dc(clip))[0]
    assert float(found.abs().max()) < 1e-4  # the floor below which motion is not believed: 5e-4


def test_the_colour_of_the_light_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    clip = film(0.002 * torch.randn(KINDS, FRAMES, generator=generator))
    # Channels that disagree: it matters how much each of them counts.
    clip = clip * (1 + 0.01 * torch.randn(clip.shape, generator=generator))
    found = apparent_motion(*ac_dc(clip))
    gain = torch.tensor([0.2, 1.0, 3.0])[:, None, None]
    torch.testing.assert_close(apparent_motion(*ac_dc(clip * gain)), found, rtol=1e-3, atol=1e-6)


@torch.no_grad()
def test_shade_that_follows_the_head_is_cancelled() -> None:
    # Each part of the head's motion has a rate and shades the head in a colour of its own: more
    # than a mixture of three channels can take out.
    motion = torch.stack([0.004 * wave(hz) for hz in (1.6, 1.9, 2.3)] + [torch.zeros(FRAMES)])
    colours = torch.tensor([[0.9, 0.3, 0.3], [0.3, 0.9, 0.3], [0.3, 0.3, 0.9]])
    shade = 20 * torch.einsum("kt,kc->tc", motion[:3], colours)[..., None, None]
    face = (face_prior(GRID) > 0.5).float()  # nothing of it beside the head
    blood = torch.tensor([0.33, 0.77, 0.53])[:, None, None] * face
    pulse = 0.004 * wave(1.2)
    noise = 0.05 * torch.randn(FRAMES, 3, GRID, GRID, generator=torch.Generator().manual_seed(1))
    clip = film(motion) * (1 - pulse[:, None, None, None] * blood)
    clip = clip * (1 + shade * face) + noise
    net = FcusNet(ModelConfig()).eval()

    def agreement(floor: float) -> float:
        net.log_motion_floor.fill_(math.log(floor))
        bvp = net.fuse(net(clip))[0]
        return float(torch.corrcoef(torch.stack([bvp, pulse]))[0, 1])

    believed, ignored = agreement(5e-4), agreement(10.0)
    assert believed > 0.9
    assert ignored < 0.7
