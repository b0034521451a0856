"""The score of a recording, on rendered people and on recordings without a pulse."""

from dataclasses import replace

import numpy as np
import pytest

from rppg.estimators.pulse_score import PULSE_SCORE, recording_score, reference_wave
from rppg.signals import heart_rate_bpm
from rppg.synthetic.cache import SPLITS
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.subjects import render_crops
from rppg.synthetic.variations.draw import draw_varied
from rppg.synthetic.variations.variation import TUNED_KINDS, Variation
from rppg.types import FaceCrops

NUMBER = SPLITS["validation"] + 3


def crops(domain: str = "lab", **options: object) -> FaceCrops:
    return render_crops(draw_varied(DOMAINS[domain], NUMBER, 15.0, Variation(**options)))  # type: ignore[arg-type]


def test_a_person_has_a_pulse_and_what_is_none_has_not() -> None:
    assert recording_score(crops()) > 2 * PULSE_SCORE
    for kind in TUNED_KINDS:
        assert recording_score(crops(dead=1.0, dead_kinds=(kind,))) < PULSE_SCORE, kind


@pytest.mark.parametrize("beside", ["shoulder", "hand", "second-face"])
def test_skin_beside_the_face_does_not_hide_its_pulse(beside: str) -> None:
    assert recording_score(crops("webcam", beside=beside)) > PULSE_SCORE


def test_a_face_that_is_never_in_view_for_ten_seconds_has_no_score() -> None:
    whole = crops()
    valid = whole.valid.copy()
    valid[len(valid) // 2] = False
    assert np.isnan(recording_score(replace(whole, valid=valid)))


def test_the_reference_wave_is_on_the_recordings_grid() -> None:
    whole = crops()
    wave = reference_wave(whole)
    assert len(wave) == round(whole.duration_s * 30) + 1
    subject = draw_varied(DOMAINS["lab"], NUMBER, 15.0, Variation())
    expected = heart_rate_bpm(subject.truth.bvp, 60.0)
    assert heart_rate_bpm(wave, 30.0) == pytest.approx(expected, abs=2)
