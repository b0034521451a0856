"""Evaluation has the objections of `rppg predict`: rates stay, quality is 0, and all are listed."""

import json

import numpy as np
import pytest

from rppg.evaluation import Protocol, evaluate
from rppg.evaluation.objected import list_objected
from rppg.predict import predict_crops
from rppg.report.document import write_report
from rppg.report.result_files import to_csv, to_json
from rppg.report.table import describe_use
from rppg.signals.reasons import CUT, KEYFRAMES
from rppg.types import FaceCrops, Pulse, Recording

TIMES = np.arange(600) / 30
PROTOCOL = Protocol(stride_s=5.0)


def skin(wave):
    """Return frames of a patch of skin whose colour follows a wave."""
    noise = np.random.default_rng(0).normal(0, 3, (len(wave), 16, 16, 3))
    frames = np.array([150, 120, 90]) + wave[:, None, None, None] * np.array([2, 4, 3]) + noise
    return np.rint(frames).clip(0, 255).astype(np.uint8)


def mean(part, _):
    return part.mean((1, 2, 3)).astype(np.float64)


def recording(name, crops):
    pulse = Pulse(TIMES, np.sin(2 * np.pi * 1.2 * TIMES))
    return Recording(name, "set", name, lambda: crops, lambda: pulse)


@pytest.fixture(scope="module")
def photograph():
    is_key = np.arange(600) % 20 == 0
    return FaceCrops(skin(np.exp(-(np.arange(600) % 20) / 4)), TIMES, TIMES >= 0, is_key=is_key)


@pytest.fixture(scope="module")
def evaluation(photograph):
    frames = skin(np.sin(2 * np.pi * 1.2 * TIMES))
    film = FaceCrops(frames, TIMES, TIMES >= 0, cuts_s=(12.0,))
    plain = FaceCrops(frames, TIMES, TIMES >= 0)
    recordings = [
        recording("photograph", photograph),
        recording("film", film),
        recording("plain", plain),
    ]
    return evaluate(recordings, {"mean": mean, "same": mean}, PROTOCOL)


def test_the_quality_is_that_of_predict_and_the_rates_stay(evaluation, photograph):
    rows = [row for row in evaluation.windows if row.record == "photograph"]
    assert len(rows) == 6 and {row.objection for row in rows} == {KEYFRAMES}
    assert all(row.quality == 0 and abs(row.hr_pred_bpm - 90) < 1 for row in rows)
    (whole,) = (r for r in evaluation.clips if (r.record, r.method) == ("photograph", "mean"))
    found = predict_crops(photograph, mean)
    assert whole.objection == found.reason == KEYFRAMES
    assert whole.quality == found.quality == 0
    assert whole.hr_pred_bpm == pytest.approx(found.hr_bpm, abs=0.5)
    plain = [row for row in evaluation.windows if row.record == "plain"]
    assert not any(row.objection for row in plain)
    assert [row.n for row in evaluation.summary()] == [9, 9]  # none is missing from the table


def test_only_windows_on_both_sides_of_a_cut_are_objected_to(evaluation):
    rows = [row for row in evaluation.windows if (row.record, row.method) == ("film", "mean")]
    assert [row.objection for row in rows] == ["" if row.end_s < 12 else CUT for row in rows]
    (whole,) = (row for row in evaluation.clips if (row.record, row.method) == ("film", "mean"))
    assert whole.objection == CUT and whole.quality == 0


def test_they_are_listed_below_the_table_in_the_report_and_in_the_files(evaluation, tmp_path):
    photograph, film = list_objected(evaluation)
    assert photograph.windows == {"mean": 3, "same": 3} and photograph.total == 3
    assert film.windows == {"mean": 2, "same": 2}
    assert describe_use(evaluation)[1:] == [
        "2 of those used have windows that can't be relied on:",
        f"  photograph: {KEYFRAMES} (3 of 3 windows)",
        f"  film: {CUT} (2 of 3 windows)",
    ]
    document = json.loads(to_json(evaluation))
    assert [entry["reason"] for entry in document["objections"]] == [KEYFRAMES, CUT]
    assert document["windows"][0]["objection"] == KEYFRAMES
    assert KEYFRAMES in to_csv(evaluation)
    report = write_report(tmp_path / "report.html", evaluation).read_text()
    assert "Not to be relied on" in report and "set / film" in report
