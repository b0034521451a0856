"""The network: invariances, any number of channels, a pulse under flicker, gradients."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from rppg.estimators.fcus import FcusEstimator, untrained
from rppg.estimators.find import load_estimator
from rppg.models.fcus import NOMINAL_SIGNATURES, FcusNet, FcusOutput, ModelConfig, fuse
from rppg.models.patches import face_prior
from rppg.models.skin_attention import SharedAttention
from rppg.signals import heart_rate_bpm
from rppg.verification import References

FPS = 30


def wave(hz: float, frames: int, phase: float = 0.0) -> Tensor:
    return torch.sin(2 * torch.pi * hz * torch.arange(frames) / FPS + phase)


def skin_clip(
    signature: tuple[float, ...] = (0.33, 0.73, 0.54),
    *,
    pulse_hz: float = 1.2,
    amplitude: float = 0.006,
    flicker: float = 0.0,
    frames: int = 300,
    seed: int = 0,
) -> Tensor:
    """Flat skin before a flat wall: a clip `(1, T, C, 36, 36)`, a lamp that flickers at 1.9 Hz.

    The pulse is on the face alone, the lamp's flicker on all.
    """
    generator = torch.Generator().manual_seed(seed)
    channels = len(signature)
    p = torch.nn.functional.normalize(torch.tensor(signature), dim=0)
    face = (face_prior(36) > 0.5).float()
    colour = torch.linspace(1.0, 0.7, channels)[:, None, None]
    base = (60 + 110 * face) * colour
    blood = amplitude * wave(pulse_hz, frames)[:, None, None, None] * p[:, None, None] * face
    lamp = torch.linspace(0.6, 1.3, channels)[:, None, None]
    light = 1 + flicker * lamp * wave(1.9, frames, 1.0)[:, None, None, None]
    noise = 0.5 * torch.randn(frames, channels, 36, 36, generator=generator)
    return (base * (1 - blood) * light + noise)[None]


@pytest.fixture
def net() -> FcusNet:
    return FcusNet(ModelConfig()).eval()


@torch.no_grad()
def test_a_clean_pulse_comes_out_at_its_amplitude_up_at_systole(net: FcusNet) -> None:
    out = net(skin_clip())
    bvp = net.fuse(out)[0]
    pulse = 0.006 * wave(1.2, 300)
    inner = slice(30, -30)
    gain = (bvp * pulse)[inner].sum() / pulse[inner].square().sum()
    assert 0.5 < float(gain) < 1.05  # a clean pulse is partly taken for noise
    assert float(torch.corrcoef(torch.stack([bvp, pulse])[:, inner])[0, 1]) > 0.9
    torch.testing.assert_close(out.attention.sum(1), torch.ones(1))
    torch.testing.assert_close(out.choice.sum(1), torch.ones(1))


@torch.no_grad()
@pytest.mark.parametrize("pulse_hz", [0.9, 1.4, 2.5])
def test_a_pulse_is_found_under_a_lamp_that_flickers_ten_times_as_strongly(
    net: FcusNet, pulse_hz: float
) -> None:
    clip = skin_clip(pulse_hz=pulse_hz, amplitude=0.005, flicker=0.05)
    green = clip[0, :, 1].mean((1, 2)).numpy()
    assert heart_rate_bpm(green, FPS) == pytest.approx(1.9 * 60, abs=1)  # the lamp's
    bvp = net.wave(net(clip))[0].numpy()
    assert heart_rate_bpm(bvp, FPS) == pytest.approx(60 * pulse_hz, abs=1)


@torch.no_grad()
def test_the_level_and_the_colour_of_the_light_do_not_matter(net: FcusNet) -> None:
    torch.nn.init.normal_(net.attention.head.weight)  # attention that looks at its features
    clip = skin_clip(flicker=0.01)
    expected = net(clip)
    for gain in (torch.tensor(0.01), torch.tensor([0.3, 1.0, 2.5])[:, None, None]):
        found = net(clip * gain)
        torch.testing.assert_close(found.regions, expected.regions, rtol=1e-3, atol=2e-6)
        torch.testing.assert_close(found.attention, expected.attention, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.choice, expected.choice, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_untrained_attention_is_the_face_prior(net: FcusNet) -> None:
    for channels in (2, 3, 5):
        traces = 0.01 * torch.randn(2, 324, channels, 90)
        found = net.attention(traces, 50 + 100 * torch.rand(2, channels, 18, 18))
        torch.testing.assert_close(
            found, face_prior(18).clamp(1e-4, 1 - 1e-4).flatten().expand(2, -1)
        )


@torch.no_grad()
def test_attention_does_not_depend_on_the_order_of_the_channels() -> None:
    attention = SharedAttention(18, 8)
    torch.nn.init.normal_(attention.head.weight)
    traces, mean = 0.01 * torch.randn(1, 324, 3, 90), 50 + 100 * torch.rand(1, 3, 18, 18)
    order = [2, 0, 1]
    torch.testing.assert_close(
        attention(traces[:, :, order], mean[:, order]),
        attention(traces, mean),
        rtol=1e-4,
        atol=1e-5,
    )


@torch.no_grad()
def test_clips_of_a_batch_do_not_look_at_each_other(net: FcusNet) -> None:
    clips = torch.cat([skin_clip(pulse_hz=f, seed=i) for i, f in enumerate((1.0, 1.7, 2.2))])
    together = net(clips).regions
    alone = torch.cat([net(clip[None]).regions for clip in clips])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(
    "signatures",
    [
        ((0.4, 0.9), (0.3, 0.95)),
        ((0.33, 0.73, 0.54),),
        ((0.33, 0.73, 0.54, 0.2), (0.25, 0.72, 0.6, 0.1)),
    ],
)
def test_any_number_of_channels_works(signatures: tuple[tuple[float, ...], ...]) -> None:
    net = FcusNet(ModelConfig(signatures=signatures)).eval()
    assert net.config.spectral_channels == len(signatures[0])
    out = net(skin_clip(signatures[0], pulse_hz=1.5, flicker=0.02))
    assert out.choice.shape == (1, 4 * len(signatures))
    assert heart_rate_bpm(net.wave(out)[0].numpy(), FPS) == pytest.approx(90, abs=1)


@torch.no_grad()
@pytest.mark.parametrize("index", [0, 4])
def test_the_signature_that_fits_the_camera_is_chosen(net: FcusNet, index: int) -> None:
    # A clean clip is where a wrong signature costs most: the beamformer cancels the pulse.
    choice = net(skin_clip(NOMINAL_SIGNATURES[index], amplitude=0.01, flicker=0.02)).choice[0]
    choice = choice.unflatten(0, (4, -1)).sum(0)  # by light and covariance
    order = choice.argsort(descending=True).tolist()
    assert abs(order[0] - index) <= 1
    assert choice[index] > choice[4 - index]


@pytest.mark.parametrize("shape", [(1, 90, 4, 36, 36), (1, 90, 36, 36, 3), (90, 3, 36, 36)])
def test_clips_of_another_shape_are_refused(net: FcusNet, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(B, T, 3, S, S\)") as caught:
        net(torch.ones(shape))
    assert str(shape) in str(caught.value)
    assert "ModelConfig.signatures" in str(caught.value)


def test_a_gradient_reaches_every_parameter(net: FcusNet) -> None:
    clips = torch.cat([skin_clip(flicker=0.01, seed=s) for s in range(2)])
    # Attention's last layer starts at zero: what lies before it learns from the second step on.
    torch.nn.init.normal_(net.attention.head.weight, std=0.1)
    out = net(clips)
    net.fuse(out).sub(0.006 * wave(1.4, 300)).square().mean().mul(1e4).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert float(parameter.grad.abs().max()) > 0, name


def test_a_grey_clip_has_finite_gradients(net: FcusNet) -> None:
    torch.nn.init.normal_(net.attention.head.weight)
    grey = skin_clip()[:, :, 1:2].expand(-1, -1, 3, -1, -1)
    net.fuse(net(grey)).square().mean().mul(1e6).backward()
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters())


def test_regions_are_fused_by_inverse_variance_and_attention() -> None:
    regions = torch.stack([wave(1.2, 300), 2 * wave(1.9, 300), wave(0.7, 300)])[None]
    attention = torch.tensor([[0.5, 0.5, 0.0]])
    found = fuse(regions, attention, torch.tensor(2.0))
    # 1/1² against 1/2²; what has no attention takes no part.
    torch.testing.assert_close(
        found, (0.8 * regions[:, 0] + 0.2 * regions[:, 1]), atol=1e-3, rtol=0
    )
    keep = torch.ones_like(regions)
    keep[:, 0, 100:] = 0
    part = fuse(regions, attention, torch.tensor(2.0), keep)
    torch.testing.assert_close(part[:, 100:], regions[:, 1, 100:])
    torch.testing.assert_close(part[:, :100], found[:, :100])
    out = FcusOutput(
        regions,
        attention,
        attention,
        regions[:, None].expand(-1, 2, -1, -1),
        References(regions, regions, attention),
    )
    torch.testing.assert_close(FcusNet(ModelConfig()).fuse(out, keep), part)


def test_an_estimate_of_a_whole_recording_is_as_long_and_has_no_seams() -> None:
    estimator = untrained()
    frames = torch.cat([skin_clip(frames=733, flicker=0.02)[0]]).permute(0, 2, 3, 1).numpy()
    bvp = estimator(frames.astype(np.float32), 30.0)
    assert bvp.shape == (733,)
    assert np.corrcoef(bvp[30:-30], wave(1.2, 733).numpy()[30:-30])[0, 1] > 0.95
    short = estimator(frames[:150], 30.0)
    assert short.shape == (150,)
    with torch.no_grad():
        clip = torch.from_numpy(frames[:150]).permute(0, 3, 1, 2)[None]
        expected = estimator.net.wave(estimator.net(clip))[0].numpy()
    np.testing.assert_allclose(short, expected, atol=1e-7)
    one_by_one = FcusEstimator(estimator.net, batch=1)(frames, 30.0)
    np.testing.assert_allclose(one_by_one, bvp, atol=1e-6)


def test_a_clip_is_filtered_by_the_evidence_of_its_neighbours_alone() -> None:
    estimator = FcusEstimator(untrained().net, clip_s=5.0)
    frames = skin_clip(frames=900)[0].permute(0, 2, 3, 1).numpy()
    expected = estimator(frames, 30.0)[:75]  # in a single clip, whose neighbours end at 300
    noise = np.random.default_rng(0).normal(0, 5, frames.shape).astype(np.float32)
    far, near = frames.copy(), frames.copy()
    far[300:] += noise[300:]
    near[150:300] += noise[150:300]
    np.testing.assert_allclose(estimator(far, 30.0)[:75], expected, atol=1e-7)
    assert np.abs(estimator(near, 30.0)[:75] - expected).max() > 0.1 * np.std(expected)


def test_another_frame_rate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"25.*30.*resample"):
        untrained()(np.ones((100, 36, 36, 3), np.float32), 25.0)


def test_the_untrained_row_is_the_same_each_time_and_leaves_the_seed_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, two = untrained(), untrained()
    assert torch.equal(torch.rand(1), expected)
    for a, b in zip(one.net.parameters(), two.net.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_shipped_checkpoint_hears_a_pulse_under_flicker() -> None:
    estimator = load_estimator()
    frames = skin_clip(flicker=0.03, pulse_hz=1.3)[0].permute(0, 2, 3, 1).numpy()
    assert heart_rate_bpm(estimator(frames, 30.0), FPS) == pytest.approx(78, abs=1)


def test_a_frozen_region_neither_poisons_training_nor_silences_the_face() -> None:
    torch.manual_seed(0)
    net = FcusNet(ModelConfig())
    clips = 100 + 20 * torch.rand(2, 150, 3, 36, 36)
    healthy = net.fuse(net(clips)).std()
    clips[..., 6:10, 6:10] = 0
    out = net(clips)
    fused = net.fuse(out)
    assert fused.std() > 0.2 * healthy
    (fused.square().mean() * 1e6 + out.choice.square().sum()).backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in net.parameters())


def test_rejected_spans_have_no_say_in_the_fusion() -> None:
    net = FcusNet(ModelConfig())
    clips = 100 + torch.rand(1, 150, 3, 36, 36)
    with torch.no_grad():
        out = net(clips)
    keep = torch.ones_like(out.regions)
    keep[:, :5, 30:60] = 0
    spoilt = out.regions.clone()
    spoilt[:, :5, 30:60] = float("nan")
    assert torch.equal(
        net.fuse(out, keep), net.fuse(dataclasses.replace(out, regions=spoilt), keep)
    )
