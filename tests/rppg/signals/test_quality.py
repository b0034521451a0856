"""The quality index: from the wave alone as before, and with evidence from the video."""

import numpy as np
import pytest

from rppg.signals import RELIABLE, RateSeries, quality, quality_evidence
from rppg.signals.pulse_evidence import PulseEvidence, no_evidence
from rppg.signals.quality import (
    BIAS,
    VERIFIED_BIAS,
    VERIFIED_WEIGHTS,
    WEIGHTS,
    verified_features,
)
from rppg.signals.reasons import (
    GREY,
    LIGHT,
    MOTION,
    NO_FACE,
    NO_RATE,
    REGIONS,
    find_reasons,
)

TIMES = np.arange(300) / 30
WAVES = np.stack([np.sin(2 * np.pi * 1.2 * TIMES), np.random.default_rng(0).normal(size=300)])


def evidence(**given):
    known = {"agreement": 1, "light": 0, "motion": 0, "light_line": 0, "motion_line": 0}
    rest = {"score": 0.5, "side": 0, "second_bpm": 0}
    columns = np.broadcast_arrays(*(known | rest | given).values())
    return PulseEvidence(*(np.atleast_1d(column).astype(float) for column in columns))


def logistic(x):
    return 1 / (1 + np.exp(-x))


def test_without_evidence_it_rests_on_the_wave():
    expected = logistic(quality_evidence(WAVES, 30.0) @ WEIGHTS + BIAS)
    np.testing.assert_allclose(quality(WAVES, 30.0), expected)
    np.testing.assert_array_equal(quality(WAVES, 30.0, evidence=no_evidence(2)), expected)
    assert quality(WAVES[0], 30.0).shape == () and quality(np.zeros(300), 30.0) == 0


def test_features_of_the_evidence():
    given = evidence(
        agreement=0.8, light=[0.2, 0.1], motion=[0.1, 0.6], light_line=[0.0, 0.4],
        motion_line=[0.5, 0.0], score=0.1, side=[-0.15, 0.6], second_bpm=[5.0, np.nan],
    )  # fmt: skip
    found = verified_features(given)
    expected = [
        [np.log(0.81 / 0.21)] * 2, np.log([0.5, 0.4]), np.log([0.5, 0.6]), [np.exp(-1), 0.5],
        np.log([0.101, 0.101]), [-1, -4],
    ]  # fmt: skip
    np.testing.assert_allclose(found, np.transpose(expected))


def test_with_evidence_it_rests_on_both():
    given = evidence(agreement=[0.9, 0.3], light=0.1, motion=0.2)
    features = np.concatenate([quality_evidence(WAVES, 30.0), verified_features(given)], axis=1)
    expected = logistic(features @ VERIFIED_WEIGHTS + VERIFIED_BIAS)
    np.testing.assert_allclose(quality(WAVES, 30.0, evidence=given), expected)
    partly = evidence(agreement=[0.9, np.nan], light=0.1, motion=0.2)
    np.testing.assert_allclose(
        quality(WAVES, 30.0, evidence=partly), [expected[0], quality(WAVES[1], 30.0)]
    )


def test_a_second_method_that_agrees_raises_it():
    given = {"agreement": 0.5, "light": 0.3, "motion": 0.3, "light_line": 0.1}
    agrees, unknown, differs = (
        quality(WAVES[:1], 30.0, evidence=evidence(**given, second_bpm=d))[0]
        for d in (0, np.nan, 30)
    )
    assert agrees > unknown > differs


def test_neighbours_that_disagree_lower_it():
    alone, same, other = (
        quality_evidence(WAVES[0], 30.0, neighbours_bpm=given)
        for given in (None, [72.0, np.nan], [72.0, 53.0])
    )
    np.testing.assert_array_equal(same[:3], other[:3])
    assert same[3] == pytest.approx(0, abs=0.2) and other[3] == pytest.approx(np.log(20), abs=0.1)
    assert alone[3] == alone[2]
    assert WEIGHTS[3] < 0 and VERIFIED_WEIGHTS[3] < 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("light", 0.95), ("motion", 0.95), ("light_line", 0.9), ("motion_line", 0.9), ("side", 0.3)],
)
def test_what_explains_the_wave_makes_it_unreliable(name, value):
    """The network's score is lower, too, by what is explained."""
    living = {"agreement": 0.7, "light": 0.2, "motion": 0.3, "second_bpm": np.nan}
    explained = living | {name: value, "score": 0.3 * (1 - value)}
    assert quality(WAVES[:1], 30.0, evidence=evidence(**living, score=0.3)) > RELIABLE
    assert quality(WAVES[:1], 30.0, evidence=evidence(**explained)) < RELIABLE


def test_reasons():
    given = evidence(
        agreement=[0.9, 0.9, 0.9, 0.9, 0.2, 0.9, np.nan, 0.9],
        light=[0.1, 0.9, 0.6, 0.1, 0.1, 0.1, np.nan, 0.9],
        motion=[0.1, 0.6, 0.8, 0.1, 0.1, 0.1, np.nan, 0.1],
        light_line=[0.0, 0.0, 0.0, 0.6, 0.0, 0.0, np.nan, 0.0],
        motion_line=[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, np.nan, 0.0],
    )
    rate = np.array([72, 72, 72, 72, 72, 72, np.nan, np.nan])
    rates = RateSeries(
        np.arange(8.0), 10 + np.arange(8.0), rate, np.array([0.9] + [0.1] * 7), given
    )
    in_view = np.arange(8) < 7
    assert find_reasons(rates, in_view) == (
        None, LIGHT, MOTION, LIGHT, REGIONS, NO_RATE, NO_RATE, NO_FACE,
    )  # fmt: skip
    assert find_reasons(rates, grey=True)[1:] == (GREY,) * 7
    plain = RateSeries(np.zeros(2), np.ones(2), np.full(2, 72.0), np.array([0.9, 0.1]))
    assert find_reasons(plain) == (None, NO_RATE)
