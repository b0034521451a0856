"""The protocol end to end, on recordings whose heart rate is known."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from rppg.errors import InputError
from rppg.evaluation import (
    TOOLBOX,
    Evaluation,
    Protocol,
    Waves,
    classical,
    constant_guess,
    evaluate,
    measure,
    paired_difference,
)
from rppg.report.result_files import to_csv, to_json
from rppg.types import FaceCrops, Pulse, Recording


def make_recording(
    name: str = "r1",
    bpm: float = 72.3,
    *,
    subject: str = "s1",
    times_s: np.ndarray | None = None,
    valid: np.ndarray | None = None,
    truth: bool = True,
    seconds: float = 30.0,
) -> Recording:
    """A skin-coloured square that pulses, and a contact sensor at 64 Hz."""
    times = np.arange(round(seconds * 30)) / 30 if times_s is None else times_s
    rng = np.random.default_rng(0)
    wave = np.sin(2 * np.pi * bpm / 60 * times)
    colour = np.array([180.0, 120.0, 90.0]) * (1 - np.array([0.01, 0.03, 0.02]) * wave[:, None])
    dither = rng.uniform(-0.5, 0.5, (len(times), 12, 12, 3))
    frames = np.round(colour[:, None, None] + dither).astype(np.uint8)
    shown = np.ones(len(times), dtype=np.bool_) if valid is None else valid
    contact = np.arange(round(seconds * 64)) / 64
    pulse = Pulse(contact, 5 + np.sin(2 * np.pi * bpm / 60 * contact))
    return Recording(
        name=name,
        dataset="made",
        subject=subject,
        load_crops=lambda: FaceCrops(frames, times, shown),
        load_truth=(lambda: pulse) if truth else None,
        metadata={"light": "lamp" if bpm > 80 else "sun"},
    )


def test_a_known_rate_is_recovered_within_a_tenth_of_a_bpm() -> None:
    found = evaluate([make_recording()], {"pos": classical("pos"), "green": classical("green")})
    spans = [(row.start_s, row.end_s) for row in found.windows if row.method == "pos"]
    np.testing.assert_allclose(spans, [(0, 10), (10, 20), (20, 30)])
    assert len(found.clips) == 2
    for row in (*found.windows, *found.clips):
        assert row.hr_true_bpm == pytest.approx(72.3, abs=0.1)
        assert row.hr_pred_bpm == pytest.approx(72.3, abs=0.1)
        assert 0 <= row.quality < 0.5  # the whole picture pulses, as under a lamp
        assert row.correlation > 0.95
        assert row.snr_db > 5
    assert found.failures == ()


@pytest.mark.parametrize("kind", ["jitter", "variable rate", "20 fps", "late start"])
def test_the_clock_of_the_video_is_what_counts(kind: str) -> None:
    rng = np.random.default_rng(1)
    times = {
        "jitter": np.arange(900) / 30 + rng.uniform(-0.01, 0.01, 900),
        "variable rate": np.cumsum(np.where(np.arange(700) < 350, 1 / 18, 1 / 30)),
        "20 fps": np.arange(600) / 20,
        "late start": 3.217 + np.arange(780) / 30,
    }[kind]
    found = evaluate(
        [make_recording(times_s=times - min(0.0, times[0]))], {"pos": classical("pos")}
    )
    assert found.windows
    for row in (*found.windows, *found.clips):
        assert row.hr_pred_bpm == pytest.approx(72.3, abs=0.2)
        assert row.correlation > 0.95


@pytest.mark.parametrize("fps", [20, 24, 25, 30, 60])
def test_no_window_is_lost_to_the_last_frames_interval(fps: int) -> None:
    found = evaluate([make_recording(times_s=np.arange(20 * fps) / fps)], {"pos": classical("pos")})
    assert len(found.windows) == 2


def test_prediction_and_label_pass_through_the_same_code() -> None:
    """An estimator that answers with the label scores perfectly, whatever the label."""
    rng = np.random.default_rng(0)
    times = np.arange(900) / 30
    bvp = rng.standard_normal(900).cumsum()
    recording = replace(make_recording(), load_truth=lambda: Pulse(times, bvp))
    found = evaluate([recording], {"oracle": lambda frames, fps: bvp[: len(frames)]})
    for row in (*found.windows, *found.clips):
        assert row.hr_pred_bpm == row.hr_true_bpm
        assert row.correlation == pytest.approx(1)
        assert row.beat_error_ms == 0


def test_what_is_undefined_lowers_the_coverage_and_enters_no_mean() -> None:
    def half(frames: np.ndarray, fps: float) -> np.ndarray:
        bright = frames.mean(axis=(1, 2, 3))
        return -bright if np.std(bright) > 0 else np.zeros(len(frames))

    lost = np.ones(900, dtype=np.bool_)
    lost[320:580] = False
    recordings = [make_recording("a", 60.0), make_recording("b", 100.0, subject="s2", valid=lost)]
    found = evaluate(
        recordings, {"half": half, "none": lambda frames, fps: np.full(len(frames), np.nan)}
    )
    by_method = {scores.method: scores for scores in found.summary()}
    n = by_method["half"].n
    assert by_method["half"].coverage == pytest.approx((n - 1) / n)
    assert by_method["half"].mae_bpm.value < 0.2
    assert by_method["none"].coverage == 0
    assert np.isnan(by_method["none"].mae_bpm.value)
    assert {scores.coverage for scores in found.summary("clips")} == {1.0, 0.0}


def test_a_hole_in_the_video_is_not_bridged_by_interpolation() -> None:
    times = np.arange(900) / 30
    times = times[(times < 11) | (times > 19)]
    found = evaluate([make_recording(times_s=times)], {"pos": classical("pos")})
    rates = [row.hr_pred_bpm for row in found.windows]
    assert np.isfinite(rates[0])
    assert np.isnan(rates[1])


def test_the_constant_guess_is_a_row_without_a_waveform() -> None:
    found = evaluate([make_recording()], {"constant": constant_guess(80), "pos": classical("pos")})
    constant, pos = found.summary()
    assert constant.mae_bpm.value == pytest.approx(80 - 72.3, abs=0.1)
    assert constant.coverage == 1
    assert np.isnan(constant.snr_db.value)
    assert np.isnan(constant.pearson_r.value)
    assert {waveform.method for waveform in found.waveforms} == {"pos"}
    assert pos.mae_bpm.value < constant.mae_bpm.value


def test_bad_records_are_reported_and_the_rest_goes_on() -> None:
    def refuses(frames: np.ndarray, fps: float) -> np.ndarray:
        raise InputError("too dark")

    unreadable = replace(make_recording("unreadable"), load_crops=_raise)
    short = make_recording("short", seconds=2.0)
    seen: list[str] = []
    found = evaluate(
        [make_recording("no truth", truth=False), unreadable, short, make_recording("good")],
        {"pos": classical("pos"), "refuses": refuses},
        progress=lambda recording: seen.append(recording.name),
    )
    assert seen == ["no truth", "unreadable", "short", "good"]
    assert [(f.record, f.method) for f in found.failures] == [
        ("no truth", None),
        ("unreadable", None),
        ("short", None),
        ("good", "refuses"),
    ]
    assert "cannot be decoded" in found.failures[1].reason
    assert "share 2.0 s" in found.failures[2].reason
    assert {row.record for row in found.clips} == {"good"}
    assert {s.method: s.coverage for s in found.summary()} == {"pos": 1.0, "refuses": 0.0}


def _raise() -> FaceCrops:
    raise InputError("clip.mp4 cannot be decoded; convert it")


def test_an_estimator_of_the_wrong_length_is_a_bug_and_said_so() -> None:
    with pytest.raises(ValueError, match="gave shape"):
        evaluate([make_recording()], {"short": lambda frames, fps: np.zeros(7)})


@pytest.mark.parametrize("spoil", ["nan samples", "flat", "all nan"])
def test_a_spoilt_label_never_becomes_a_number(spoil: str) -> None:
    good = make_recording().load_truth
    assert good is not None
    label = good()
    bvp = label.bvp.copy()
    if spoil == "nan samples":
        bvp[100:110] = np.nan
    elif spoil == "flat":
        bvp[:] = 0.1
    else:
        bvp[:] = np.nan
    recording = replace(make_recording(), load_truth=lambda: Pulse(label.times_s, bvp))
    found = evaluate([recording], {"pos": classical("pos")})
    if spoil == "nan samples":
        assert found.clips[0].hr_true_bpm == pytest.approx(72.3, abs=0.1)
    elif spoil == "flat":
        assert found.rows() == found.rows("clips") == ()
        assert "flat" in found.failures[0].reason
        assert found.data[0].recordings == 0 and found.data[0].left_out == ("r1",)
    else:
        assert "0 usable samples" in found.failures[0].reason


@pytest.fixture(scope="module")
def small() -> Evaluation:
    def noise(frames: np.ndarray, fps: float) -> np.ndarray:
        return np.random.default_rng(len(frames)).standard_normal(len(frames))

    recordings = [make_recording(f"r{i}", 60.0 + 9 * i, subject=f"s{i}") for i in range(5)]
    return evaluate(recordings, {"pos": classical("pos"), "noise": noise})


def test_paired_difference_says_which_is_better_and_how_surely(small: Evaluation) -> None:
    found = paired_difference(small, "made", "pos", "noise")
    assert found.mean_bpm < 0
    assert found.low_bpm <= found.mean_bpm <= found.high_bpm
    assert found.n_subjects == 5
    back = paired_difference(small, "made", "noise", "pos")
    assert back.mean_bpm == pytest.approx(-found.mean_bpm)
    with pytest.raises(InputError, match="not evaluated with 'chrom'"):
        paired_difference(small, "made", "pos", "chrom")


def test_summary_by_metadata_splits_the_windows(small: Evaluation) -> None:
    parts = small.summary(by="light")
    assert {(s.group, s.method) for s in parts} == {
        ("lamp", "pos"),
        ("lamp", "noise"),
        ("sun", "pos"),
        ("sun", "noise"),
    }
    whole = {s.method: s.n for s in small.summary()}
    assert sum(s.n for s in parts if s.method == "pos") == whole["pos"]
    assert {s.group for s in small.summary(by="nothing")} == {"unknown"}


def test_examples_are_few_and_filtered(small: Evaluation) -> None:
    assert {w.record for w in small.waveforms} == {"r0", "r1"}
    for waveform in small.waveforms:
        assert waveform.bvp_true.shape == waveform.bvp_pred.shape == waveform.times_s.shape


def test_json_and_csv_carry_every_row_and_null_for_missing() -> None:
    found = evaluate([make_recording()], {"constant": constant_guess(80), "pos": classical("pos")})
    document = json.loads(to_json(found))
    assert len(document["windows"]) == len(found.windows)
    assert document["windows"][0]["snr_db"] is None
    assert document["summary"]["clips"][1]["mae_bpm"]["value"] < 0.2
    assert document["settings"]["fps"] == 30.0
    lines = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert len(lines) == len(found.windows) + len(found.clips)
    assert lines[0]["metadata.light"] == "sun"
    assert lines[0]["snr_db"] == ""
    assert {line["scope"] for line in lines} == {"window", "clip"}


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(InputError, match=r"at least 3\.3 s"):
        Protocol(window_s=2.0)
    with pytest.raises(InputError, match="raise fps"):
        Protocol(fps=6.0)
    with pytest.raises(InputError, match="positive"):
        Protocol(stride_s=0.0)
    with pytest.raises(InputError, match="window of nan s"):
        Protocol(window_s=float("nan"))
    with pytest.raises(InputError, match="hr is 'fft'; choose one of spectrum, peaks"):
        Protocol(hr="fft")
    with pytest.raises(InputError, match="leave continuity out"):
        Protocol(hr="peaks", continuity=True)


@pytest.mark.parametrize("base", [Protocol(), TOOLBOX])
def test_rates_from_peaks_for_both_waves(base: Protocol) -> None:
    """Of a wave with two maxima in each period of its strongest frequency."""
    times = np.arange(900) / 30
    wave = np.sin(2 * np.pi * times) + 0.8 * np.sin(4 * np.pi * times)
    by_peaks, by_spectrum = (
        measure(wave, replace(base, hr=hr)).windows.hr_bpm for hr in ("peaks", "spectrum")
    )
    np.testing.assert_allclose(by_peaks, 120, atol=3)
    np.testing.assert_allclose(by_spectrum, 60, atol=3)


def test_waves_of_every_recording_and_none_that_is_made_up() -> None:
    kept: list[Waves] = []
    recordings = [make_recording(f"r{n}") for n in range(3)]
    recordings[1] = replace(recordings[1], rate_only=True)
    methods = {"pos": classical("pos"), "guess": constant_guess(80.0)}
    found = evaluate(recordings, methods, on_waves=kept.append)
    assert [example.record for example in found.waveforms] == ["r0"]
    assert [waves.record for waves in kept] == ["r0", "r1", "r2"]
    assert list(kept[0].bvp_pred) == ["pos"]
    assert kept[1].bvp_true is None
    correlation = np.corrcoef(kept[2].bvp_true, kept[2].bvp_pred["pos"])[0, 1]
    assert correlation > 0.9
    with pytest.raises(InputError, match="choose one of green, ica, chrom, pbv, pos, lgi, omit"):
        classical("magic")
    with pytest.raises(InputError, match="positive heart rate"):
        constant_guess(0)
    with pytest.raises(InputError, match="nothing to evaluate"):
        evaluate([], {})
