"""The newest window alone is what `predict` has for it, digit by digit."""

import numpy as np
import pytest

from rppg.estimators.find import find_estimator, with_reference
from rppg.estimators.last_window import measure_last_window
from rppg.predict import predict_crops
from rppg.synthetic.cache import find_domain
from rppg.synthetic.subjects import draw_subject, render_crops


@pytest.fixture(scope="module")
def crops():
    return render_crops(draw_subject(find_domain("webcam"), 0, 15.2))


@pytest.mark.parametrize(("method", "seconds"), [("fcus", 15.1), ("fcus", 8.0), ("pos", 12.4)])
def test_the_last_window_is_that_of_predict(crops, method, seconds):
    part = crops.part(slice(0, int(np.searchsorted(crops.times_s, seconds))))
    estimator, reference = with_reference(find_estimator(method), full_frame=False)
    last = measure_last_window(part, estimator, reference)
    found = predict_crops(part, find_estimator(method))
    assert last.end_s == pytest.approx(found.rates.end_s[-1])
    assert last.start_s == pytest.approx(found.rates.start_s[-1])
    assert last.hr_bpm == pytest.approx(found.rates.hr_bpm[-1], abs=1e-6)
    assert last.quality == pytest.approx(found.rates.quality[-1], abs=1e-6)
    assert last.reason == found.reasons[-1]
    assert len(last.wave) == round((last.end_s - last.start_s) * last.fps)
    assert np.std(last.wave) == pytest.approx(1)
