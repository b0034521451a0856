"""PhysNet: any length, both readings of space, and what it is shown."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from rppg.errors import InputError
from rppg.estimators.physnet import PeerEstimator
from rppg.models.physnet import PhysNet, PhysNetConfig
from rppg.models.physnet_input import cut_faces
from rppg.peers.clips import clip_starts, cut_clip, find_spans
from rppg.peers.config import PeerConfig
from rppg.types import FaceCrops

SINC = PeerConfig(method="sinc").model
CONTRAST = PeerConfig(method="contrast-phys").model


def small(config: PhysNetConfig, **given: object) -> PhysNet:
    torch.manual_seed(0)
    return PhysNet(config.model_copy(update={"width": 4, **given})).eval()


@pytest.mark.parametrize("frames", [4, 5, 6, 7, 61])
@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("config", [SINC, CONTRAST], ids=["sinc", "contrast-phys"])
def test_waves_are_as_long_as_the_clip(config: PhysNetConfig, side: int, frames: int) -> None:
    net = small(config, side=side)
    waves = net(255 * torch.rand(2, frames, 3, side, side))
    assert waves.shape == (2, 5 if config.spatial == 2 else 1, frames)
    if config.spatial == 2:
        torch.testing.assert_close(waves[:, 4], waves[:, :4].mean(1))


def test_the_four_waves_are_of_the_four_quadrants() -> None:
    net = small(CONTRAST, side=128, halvings=0, taps=1, scaling="fixed")
    clip = torch.full((1, 8, 3, 128, 128), 100.0)
    lit = clip.clone()
    lit[:, 4, :, :32, 96:] += 50  # the upper right corner, for a frame
    changed = (net(lit) - net(clip)).abs()[0, :4].amax(1) > 1e-6
    assert changed.tolist() == [False, True, False, False]


def test_standard_scaling_takes_level_and_contrast_away_and_fixed_does_not() -> None:
    clip = 100 + 20 * torch.rand(1, 12, 3, 32, 32)
    shifted = 1.5 * clip + 7

    def change(scaling: str) -> float:
        net = small(CONTRAST, scaling=scaling)
        return float((net(shifted) - net(clip)).abs().max().detach())

    assert change("standard") < 1e-6
    assert change("fixed") > 1e-5


def test_dropout_is_sincs_alone() -> None:
    clip = 255 * torch.rand(2, 12, 3, 32, 32)
    for config, random in ((SINC, True), (CONTRAST, False)):
        net = small(config).train()
        torch.manual_seed(1)
        one = net(clip)
        assert torch.equal(net(clip), one) is not random


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValidationError, match="32 or more"):
        PhysNetConfig(side=16, spatial=2)
    with pytest.raises(ValidationError, match="odd"):
        PhysNetConfig(taps=4)
    with pytest.raises(ValueError, match=r"\(B, T, 3, 32, 32\)"):
        small(SINC)(torch.rand(1, 20, 3, 36, 36))
    with pytest.raises(ValueError, match="4 or more"):
        small(CONTRAST)(torch.rand(1, 3, 3, 32, 32))


@pytest.mark.parametrize("whole", [36, 54, 200])
def test_pictures_show_the_face_with_what_the_scale_asks_for(whole: int) -> None:
    ramp = np.broadcast_to(
        np.linspace(0, 1, whole, dtype=np.float32)[:, None, None], (2, whole, whole, 3)
    )
    for face_scale in (1.0, 1.2, 1.5):
        shown = cut_faces(
            np.ascontiguousarray(ramp), SINC.model_copy(update={"face_scale": face_scale})
        )
        assert shown.shape == (2, 3, 32, 32)
        torch.testing.assert_close(shown[..., 0], shown[..., -1])  # along the first axis alone
        rise = float(shown[0, 0, -1, 0] - shown[0, 0, 0, 0])
        assert abs(rise - face_scale / 1.5) < 0.07


def crops_of(seconds: float, fps: float = 30.0) -> FaceCrops:
    times_s = np.arange(int(seconds * fps) + 1) / fps
    frames = np.zeros((len(times_s), 36, 36, 3), np.uint8)
    frames[:] = (np.arange(len(times_s)) % 250).astype(np.uint8)[:, None, None, None]
    return FaceCrops(frames, times_s, np.ones(len(times_s), bool))


def test_clips_are_on_the_networks_clock_and_leave_out_where_the_face_was_lost() -> None:
    crops = crops_of(8)
    crops.valid[100] = False
    first, second = find_spans([crops, crops_of(2)], SINC, 90)
    assert (len(first.grid_s), len(second.grid_s)) == (100, 140)
    assert (first.recording, second.recording) == (0, 0)
    assert list(clip_starts(second, 90, 20)) == [0, 20, 40]
    clip = cut_clip(second, 3, 90, SINC)
    torch.testing.assert_close(clip[:, 0, 5, 5], 104.0 + torch.arange(90), rtol=0, atol=1e-3)
    slow = cut_clip(second, 3, 90, SINC, speed=0.6)
    torch.testing.assert_close(slow[:, 1, 5, 5], 104 + 0.6 * torch.arange(90), rtol=0, atol=1e-3)
    (dense,) = find_spans([crops_of(4, fps=60)], SINC, 90)
    torch.testing.assert_close(
        cut_clip(dense, 0, 90, SINC)[:, 2, 0, 0], 2.0 * torch.arange(90), rtol=0, atol=1e-3
    )


class Echo(PhysNet):
    """Answers each clip with the level of its red, in units of the clip's own."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        level = clips[:, :, 0].mean((2, 3))
        return (level * (1 + level[:, :1]))[:, None]


@pytest.mark.parametrize("total", [50, 90, 91, 200, 301])
def test_the_estimator_joins_clips_of_arbitrary_scale(total: int) -> None:
    wave = np.sin(2 * np.pi * np.arange(total) / 15)
    frames = np.zeros((total, 36, 36, 3), np.float32)
    frames[:] = (100 + wave)[:, None, None, None]
    found = PeerEstimator(Echo(SINC), 90)(frames, 30.0)
    assert found.shape == (total,)
    assert np.corrcoef(found, wave)[0, 1] > 0.999
    assert abs(np.std(found) - 1) < 0.05


def test_the_estimator_refuses_other_rates_and_channels() -> None:
    estimator = PeerEstimator(small(SINC), 90)
    with pytest.raises(ValueError, match="25"):
        estimator(np.zeros((100, 36, 36, 3), np.float32), 25.0)
    with pytest.raises(InputError, match=r"2 channels.*made for 3"):
        estimator(np.zeros((100, 36, 36, 2), np.float32), 30.0)


def test_a_still_picture_gives_a_finite_wave() -> None:
    found = PeerEstimator(small(CONTRAST), 90)(np.full((100, 36, 36, 3), 90, np.float32), 30.0)
    assert np.isfinite(found).all()
