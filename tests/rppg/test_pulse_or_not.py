"""What looks like a face but has no pulse is not reliable, and the reason is given in words."""

import functools
import json

import numpy as np
import pytest

from rppg.commands.predict import _print_prediction
from rppg.estimators.find import find_estimator
from rppg.predict import predict_crops
from rppg.report.prediction import prediction_figure, write_rates
from rppg.signals.reasons import GREY, LIGHT, MOTION, NO_FACE, NO_RATE, ONE_SIDE, REGIONS
from rppg.synthetic.cache import find_domain
from rppg.synthetic.subjects import draw_subject, render_crops
from rppg.synthetic.variations.kinds import KINDS
from rppg.types import FaceCrops

REASONS = {LIGHT, MOTION, ONE_SIDE, REGIONS, NO_RATE, NO_FACE, GREY}
NUMBER = 1


@functools.cache
def predicted(kind, method):
    subject = draw_subject(find_domain("webcam"), NUMBER, 14.0)
    crops = render_crops(KINDS[kind](subject) if kind else subject)
    return predict_crops(crops, find_estimator(method))


@pytest.mark.parametrize("method", ["fcus", "pos"])
def test_a_living_person_is_reliable(method):
    found = predicted(None, method)
    assert found.reliable and found.reason is None
    reliable = found.rates.quality >= 0.5
    assert reliable.mean() > 0.7
    assert [reason is None for reason in found.reasons] == list(reliable)


@pytest.mark.parametrize("method", ["fcus", "pos"])
@pytest.mark.parametrize("kind", ["mannequin", "photograph", "dummy", "wall"])
def test_without_a_pulse_it_is_not(kind, method):
    found = predicted(kind, method)
    assert not found.reliable and found.reason in REASONS
    assert (found.rates.quality >= 0.5).mean() < 0.1
    assert len(found.reasons) == len(found.rates.quality)
    assert {reason for reason in found.reasons if reason} <= REASONS


def test_the_light_and_the_motion_are_named():
    """GREEN follows whatever is strongest: the flicker and the nod."""
    assert predicted("photograph", "green").reason == LIGHT
    assert predicted("dummy", "green").reason in (LIGHT, MOTION)


def test_reasons_are_in_every_output(tmp_path, capsys):
    found = predicted("photograph", "green")
    values = json.loads(json.dumps(found.to_json(bvp=False), allow_nan=False))
    assert values["reason"] == LIGHT and values["reliable"] is False
    assert [window["reason"] for window in values["windows"]] == list(found.reasons)
    write_rates(tmp_path / "rates.csv", found)
    assert LIGHT in (tmp_path / "rates.csv").read_text()
    assert LIGHT in prediction_figure(found, title="a").axes[0].get_title(loc="left")
    _print_prediction(tmp_path, found)
    head, *lines = capsys.readouterr().out.splitlines()
    assert f"(no reliable pulse: {LIGHT})" in head
    assert all(line.endswith(f"({why})") for line, why in zip(lines, found.reasons, strict=False))


def test_a_lost_face_and_grey_frames_are_named():
    crops = render_crops(draw_subject(find_domain("webcam"), NUMBER, 14.0))
    lost = FaceCrops(crops.frames, crops.times_s, crops.times_s < 4)
    found = predict_crops(lost, find_estimator("pos"))
    assert found.reasons[-1] == NO_FACE and found.reason == NO_FACE
    grey = np.repeat(crops.frames[..., 1:2], 3, axis=-1)
    found = predict_crops(FaceCrops(grey, crops.times_s, crops.valid), find_estimator("pos"))
    assert found.reason == GREY and set(found.reasons) == {GREY} and found.quality == 0
