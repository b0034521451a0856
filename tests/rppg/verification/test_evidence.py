"""The evidence that a wave is a pulse: closed forms, invariances, and the filter made of it."""

import numpy as np
import pytest
import torch
from scipy.signal import coherence
from torch import Tensor

from rppg.verification import (
    References,
    apply_gain,
    average_evidence,
    join_evidence,
    judge,
)
from rppg.verification.evidence import LIGHT_FLOOR, MOTION_FLOOR
from rppg.verification.spectra import frequencies, spectrum_at

FPS, TIME = 30.0, 300


def sine(hz: float, phase: float = 0.0, time: int = TIME) -> Tensor:
    return torch.sin(2 * torch.pi * hz * torch.arange(time) / FPS + phase)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def references(light: Tensor | None = None, motion: Tensor | None = None) -> References:
    """Return a clip's references: noise far below the floors, but for what is given."""
    quiet = 1e-3 * noise(1, 2, TIME, seed=9)
    light = LIGHT_FLOOR * quiet if light is None else light
    return References(
        light=light,
        motion=MOTION_FLOOR * quiet if motion is None else motion,
        seen=torch.ones(light.shape[:2]),
    )


def test_a_spectrum_has_the_root_mean_square_of_a_sine() -> None:
    hz = torch.tensor([0.9, 1.3, 2.0])
    found = spectrum_at(0.004 * sine(1.3), hz, FPS).square().sum(-1).sqrt()
    assert float(found[1]) == pytest.approx(0.004 / 2**0.5, rel=1e-3)
    assert float(found[0]) < 1e-5 and float(found[2]) < 1e-5
    assert frequencies(0.6, 3.3, 0.1, found).tolist() == pytest.approx(np.arange(0.6, 3.35, 0.1))


def test_a_pulse_has_a_score_near_one_and_noise_a_low_one() -> None:
    pulse = 0.004 * (sine(1.2) + 0.4 * sine(2.4, 1.0))
    evidence = judge(pulse[None], references(), FPS, regions=pulse.expand(1, 9, -1))
    assert float(evidence.rate_hz) == pytest.approx(1.2, abs=0.01)
    assert float(evidence.line) > 0.95
    regions = 0.004 * noise(1, 36, TIME)
    evidence = judge(regions.mean(1), references(), FPS, regions=regions)
    assert float(evidence.line) < 0.05


def test_regions_in_random_phases_agree_by_one_over_their_number() -> None:
    phases = 2 * torch.pi * torch.arange(16) / 16
    opposed = torch.stack([sine(1.2, float(p)) for p in phases])[None]
    evidence = judge(sine(1.2)[None], references(), FPS, regions=opposed)
    assert float(evidence.at_peak(evidence.agreement)) < 1e-3
    random = noise(200, 16, TIME)
    wave, silent = sine(1.2).expand(200, -1), references()
    evidence = judge(wave, expanded(silent, 200), FPS, regions=random)
    assert float(evidence.agreement.mean()) == pytest.approx(1 / 16, rel=0.1)


def expanded(one: References, count: int) -> References:
    return References(*(x.expand(count, *x.shape[1:]) for x in (one.light, one.motion, one.seen)))


@pytest.mark.parametrize("kind", ["light", "motion"])
def test_what_follows_a_reference_is_explained_by_it(kind: str) -> None:
    wave = 0.003 * sine(1.5)[None]
    floor = LIGHT_FLOOR if kind == "light" else MOTION_FLOOR
    same = torch.stack([noise(TIME), sine(1.5, 0.8)])[None]
    for level, expected in ((100.0, 1.0), (2**0.5, 0.5), (0.01, 0.0)):
        evidence = judge(wave, references(**{kind: level * floor * same}), FPS)
        found = float(evidence.at_peak(getattr(evidence, kind)))
        assert found == pytest.approx(expected, abs=0.06)
        assert float(evidence.at_peak(evidence.gain)) == pytest.approx(1 - found, abs=0.06)
        assert float(evidence.line) <= 1 - found + 0.06
    other = judge(wave, references(**{kind: 100 * floor * sine(2.3).expand(1, 2, -1)}), FPS)
    assert float(other.line) > 0.8


@pytest.mark.parametrize(("kind", "level"), [("light", 1e-3), ("motion", 1e-2)])
def test_a_line_of_a_reference_lowers_the_score_of_a_wave_that_is_not_coherent(
    kind: str, level: float
) -> None:
    random_phase = torch.cat([sine(1.5, phase, 75) for phase in (0.0, 2.5, 1.0, 4.0)])
    wave = 0.003 * random_phase[None]
    line = level * torch.stack([0.1 * noise(TIME), sine(1.5, 0.8)])[None]
    alone = judge(wave, references(), FPS)
    beside = judge(wave, references(**{kind: line}), FPS)
    assert float(beside.at_peak(getattr(beside, kind))) < 0.6
    assert float(beside.line) < 0.05 * float(alone.line)
    # A reference without a line, or with one at another frequency or below the floor, changes
    # little.
    for other in (level * noise(1, 2, TIME, seed=3), 1e-3 * line, level * sine(2.2)[None, None]):
        found = judge(wave, references(**{kind: other}), FPS)
        assert float(found.at_peak(found.light_line)) < 0.1
        assert float(found.at_peak(found.motion_line)) < 0.1


def test_the_coherence_is_that_of_scipy() -> None:
    wave, trace = noise(TIME, seed=1), noise(TIME, seed=2)
    wave = wave + 0.8 * trace
    evidence = judge(wave[None], references(light=trace.expand(1, 1, -1)), FPS)
    hz, expected = coherence(wave, trace, FPS, "hann", 75, 75 - 18, 300, detrend="constant")
    inside = (hz >= 0.6) & (hz <= 3.3)
    found = np.interp(hz[inside], evidence.hz, evidence.light[0])
    np.testing.assert_allclose(found, expected[inside], atol=0.05)


def test_a_trace_of_no_patch_explains_nothing() -> None:
    wave = 0.003 * sine(1.5)[None]
    unseen = References(wave[None], torch.zeros(1, 1, TIME), torch.zeros(1, 1))
    assert float(judge(wave, unseen, FPS).line) > 0.9


def test_the_score_depends_neither_on_the_unit_nor_on_the_batch() -> None:
    regions = 0.004 * (sine(1.2) + 0.5 * noise(3, 12, TIME))
    refs = References(
        1e-3 * noise(3, 4, TIME, seed=3), 1e-3 * noise(3, 4, TIME, seed=4), torch.ones(3, 4)
    )
    expected = judge(regions.mean(1), refs, FPS, regions=regions).line
    torch.testing.assert_close(
        judge(7 * regions.mean(1), refs, FPS, regions=7 * regions).line, expected
    )
    for i in range(3):
        own = References(refs.light[i : i + 1], refs.motion[i : i + 1], refs.seen[i : i + 1])
        alone = judge(regions[i : i + 1].mean(1), own, FPS, regions=regions[i : i + 1]).line
        torch.testing.assert_close(alone, expected[i : i + 1])
    many = regions[:, None].expand(-1, 5, -1, -1)  # candidates share the clip's references
    found = judge(many.mean(2), refs, FPS, regions=many).line
    torch.testing.assert_close(found, expected[:, None].expand(-1, 5))


def test_no_gradient_flows_through_the_evidence() -> None:
    wave = sine(1.2)[None].requires_grad_()
    assert not judge(wave, references(), FPS).line.requires_grad


def test_silence_and_short_waves_are_finite() -> None:
    for wave in (torch.zeros(1, TIME), noise(1, TIME)):
        evidence = judge(wave, references(), FPS, regions=wave[:, None])
        assert bool(evidence.line.isfinite().all()) and bool(evidence.gain.isfinite().all())
    short = noise(1, 60)
    quiet = References(torch.zeros(1, 1, 60), torch.zeros(1, 1, 60), torch.ones(1, 1))
    assert bool(judge(short, quiet, FPS).line.isfinite().all())


def test_averaged_evidence_keeps_the_power_of_each_wave() -> None:
    waves = [noise(n, 4, TIME, seed=n) for n in (1, 2)]
    joined = join_evidence(
        [judge(x.mean(1), expanded(references(), len(x)), FPS, regions=x) for x in waves]
    )
    averaged = average_evidence(joined, torch.tensor([[3.0, 1, 0], [0, 2, 0], [0, 1, 1]]))
    assert torch.equal(averaged.power, joined.power)
    assert torch.equal(averaged.share, joined.share)
    first, second, third = joined.agreement
    expected = torch.stack([0.75 * first + 0.25 * second, second, (second + third) / 2])
    torch.testing.assert_close(averaged.agreement, expected)


def test_the_filter_keeps_what_is_a_pulse_and_removes_what_is_explained() -> None:
    pulse, lamp = 0.004 * sine(1.2), 0.004 * sine(2.2, 0.3)
    wave = (pulse + lamp)[None]
    refs = references(light=1e-2 * sine(2.2).expand(1, 1, -1))
    found = apply_gain(wave, judge(wave, refs, FPS), FPS)[0]
    inner = slice(60, -60)
    assert float((found - pulse)[inner].square().mean()) < 0.1 * float(lamp.square().mean())
    ideal = judge(pulse[None], references(), FPS)
    kept = apply_gain(pulse[None], ideal, FPS)[0]
    torch.testing.assert_close(kept[inner], pulse[inner], atol=5e-4, rtol=0)
