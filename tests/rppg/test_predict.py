"""Prediction from arrays and from files: known rates are found, unknown values are missing."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from skimage import data

from rppg.errors import InputError
from rppg.estimators.streaming import OVERLAP_S, PART_S
from rppg.predict import Prediction, find_estimator, predict, predict_crops
from rppg.report.prediction import plot_prediction, prediction_figure, write_rates
from rppg.signals import RateSeries, bandpass
from rppg.synthetic.cache import find_domain
from rppg.synthetic.subjects import draw_subject, render_crops
from rppg.types import FaceCrops
from rppg.video import read_crops, read_frames, write_video

PORTRAIT_BPM, PORTRAIT_CENTRE = 93.0, (288, 128)


def loudest_bpm(times_s, values):
    """Return the highest peak of the periodogram, independent of the package."""
    grid = np.linspace(times_s[0], times_s[-1], len(times_s))
    even = np.interp(grid, times_s, values)
    power = np.abs(np.fft.rfft((even - even.mean()) * np.hanning(len(even)), n=1 << 17)) ** 2
    bpm = 60 * np.fft.rfftfreq(1 << 17, grid[1] - grid[0])
    band = (bpm > 40) & (bpm < 200)
    return bpm[band][np.argmax(power[band])]


@pytest.fixture(scope="module")
def subject():
    return draw_subject(find_domain("lab"), 0, 12.0)


@pytest.fixture(scope="module")
def crops(subject) -> FaceCrops:
    return render_crops(subject)


@pytest.fixture(scope="module")
def portrait_film(tmp_path_factory):
    """A photograph in a wide frame, whose skin pulses at `PORTRAIT_BPM`."""
    photograph = data.astronaut()[:480].astype(np.float32)
    scene = np.pad(photograph, ((0, 0), (64, 64), (0, 0)), mode="edge")
    ys, xs = np.mgrid[40:220, 208:368]
    skin = np.exp(-((((xs - 288) / 48) ** 2 + ((ys - 135) / 60) ** 2) ** 3))[..., None]
    signature = np.array([0.35, 0.78, 0.50])
    rng = np.random.default_rng(0)

    def frames(fps=20, seconds=12, amplitude=0.008):
        for n in range(fps * seconds):
            frame = scene.astype(np.uint8)
            wave = np.sin(2 * np.pi * PORTRAIT_BPM / 60 * n / fps)
            face = scene[40:220, 208:368] * (1 - amplitude * signature * wave * skin)
            noisy = face + rng.standard_normal(face.shape)  # a sensor's, which dithers the steps
            frame[40:220, 208:368] = np.clip(np.rint(noisy), 0, 255)
            yield frame

    path = tmp_path_factory.mktemp("portrait") / "portrait.mp4"
    write_video(path, frames(), fps=20, crf=4)
    return path


@pytest.fixture(scope="module")
def portrait_crops(portrait_film) -> FaceCrops:
    return read_crops(portrait_film, size=54)


def test_the_portrait_is_found(portrait_crops):
    assert portrait_crops.valid.all()
    centres = portrait_crops.boxes[:, :2] + portrait_crops.boxes[:, 2:] / 2
    np.testing.assert_allclose(centres.mean(axis=0), PORTRAIT_CENTRE, atol=25)


@pytest.mark.parametrize("method", ["fcus", "pos"])
def test_a_known_rate_in_a_photograph(portrait_crops, method):
    found = predict_crops(portrait_crops, find_estimator(method))
    assert found.hr_bpm == pytest.approx(PORTRAIT_BPM, abs=2)
    np.testing.assert_allclose(found.rates.hr_bpm, PORTRAIT_BPM, atol=2)
    assert found.reliable and found.face_share == 1


def test_part_of_a_file(portrait_film):
    found = predict(
        str(portrait_film), estimator=find_estimator("pos"), start_s=2.0, duration_s=7.0
    )
    assert found.hr_bpm == pytest.approx(PORTRAIT_BPM, abs=3)
    assert found.frames == pytest.approx(140, abs=1)
    assert found.times_s[0] == 0 and found.times_s[-1] == pytest.approx(7, abs=0.1)
    assert set(found.seconds) == {"video", "pulse"} and min(found.seconds.values()) > 0


@pytest.mark.parametrize("method", ["fcus", "pos"])
def test_a_rendered_subject(subject, crops, method):
    found = predict_crops(crops, find_estimator(method))
    truth = loudest_bpm(subject.truth.times_s, subject.truth.bvp)
    assert found.hr_bpm == pytest.approx(truth, abs=2)
    assert loudest_bpm(found.times_s, found.bvp) == pytest.approx(truth, abs=2)
    assert found.bvp.shape == found.times_s.shape and np.isfinite(found.bvp).all()
    assert np.std(found.bvp) == pytest.approx(1)
    assert found.frames == len(crops.frames)


def test_the_bvp_is_up_at_systole(subject, crops):
    """It goes with the contact pulse, not against it, but for a small delay."""
    found = predict_crops(crops, find_estimator())
    delays = np.arange(-0.1, 0.101, 0.02)
    inner = (found.times_s > 1) & (found.times_s < found.times_s[-1] - 1)
    agreement = [
        np.corrcoef(
            found.bvp[inner],
            np.interp(found.times_s[inner] + delay, subject.truth.times_s, subject.truth.bvp),
        )[0, 1]
        for delay in delays
    ]
    assert max(agreement) > 0.7


def test_frames_with_timestamps_are_a_video(portrait_film):
    """The same frames, from memory: uneven times that start anywhere change nothing else."""
    pos = find_estimator("pos")
    film = list(read_frames(portrait_film))
    frames = np.stack([frame.rgb for frame in film])
    times = np.array([frame.time_s for frame in film])
    from_file = predict(portrait_film, estimator=pos)
    found = predict(frames, times + 1000, estimator=pos)
    assert found.hr_bpm == pytest.approx(from_file.hr_bpm, abs=0.1)
    assert found.frames == len(frames) and found.face_share == 1
    part = predict(frames, times, estimator=pos, box=(240, 60, 96, 120), duration_s=7.0)
    assert part.frames == pytest.approx(140, abs=1)
    assert part.hr_bpm == pytest.approx(PORTRAIT_BPM, abs=3)


def test_frames_that_do_not_fit_are_refused_with_the_fix():
    frames, times = np.zeros((200, 8, 8, 3), np.uint8), np.arange(200) / 30
    backwards = times.copy()
    backwards[7] = 0.0
    late_nan = np.where(np.arange(200) == 9, np.nan, times)
    for wrong, clock, match in (
        (frames, None, "np.arange"),
        (frames[0], times[:8], r"\(8, 8, 3\); expected"),
        (np.zeros((200, 8, 8, 4), np.uint8), times, "colours last"),
        (frames.astype(np.float32), times, r"float32.*np\.rint\(255"),
        (frames, times[:-1], r"200 frames but timestamps of shape \(199,\)"),
        (frames[:1], times[:1], "at least two"),
        (frames, backwards, r"0\.2 s is followed by 0\.0 s \(number 7\)"),
        (frames, late_nan, "finite and increase.*number 9"),
        (frames, ["a"] * 200, "not numbers"),
        (frames.tolist(), times, "iterable of frames with timestamps"),
        ("film.mp4", times, "clock of its own|its own clock"),
        (frames[:60], times[:60], "2.0 s of video"),
    ):
        with pytest.raises(InputError, match=match):
            predict(wrong, clock, full_frame=True)


def test_a_long_recording_goes_through_in_pieces(crops):
    """Pieces fade into each other without a seam, and none is longer than it may be."""
    fps, seconds = 30.0, 170
    times = np.arange(int(seconds * fps)) / fps
    pulse = np.sin(2 * np.pi * 1.3 * times)
    skin = np.array([150, 120, 90]) + pulse[:, None] * np.array([12, 20, 14])
    frames = np.broadcast_to(np.rint(skin)[:, None, None], (len(times), 4, 4, 3))
    long = FaceCrops(frames.astype(np.uint8), times, np.ones(len(times), np.bool_))
    lengths = []

    def mean(part, rate):
        lengths.append(len(part) / rate)
        return part.mean((1, 2, 3)).astype(np.float64) - 120

    found = predict_crops(long, mean)
    assert len(lengths) > 1 and max(lengths) < PART_S + 2 * OVERLAP_S
    clean = np.sin(2 * np.pi * 1.3 * found.times_s)
    assert np.corrcoef(found.measured, clean)[0, 1] > 0.999
    assert np.corrcoef(found.bvp[60:-60], clean[60:-60])[0, 1] > 0.999
    assert found.hr_bpm == pytest.approx(78, abs=0.1)
    np.testing.assert_allclose(found.rates.hr_bpm, 78, atol=0.1)
    assert not found.reliable and found.hrv is None  # the whole picture pulses, as under a lamp


def test_heart_rate_variability_of_a_rendered_subject():
    subject = draw_subject(find_domain("lab"), 0, 75.0)
    found = predict_crops(render_crops(subject), find_estimator())
    assert found.reliable and found.hrv is not None and found.hrv_missing is None
    expected = 75 * found.hr_bpm / 60
    assert found.hrv.beats == len(found.beats_s) == pytest.approx(expected, rel=0.15)
    values = found.to_json(bvp=False)
    assert "bvp" not in values and "beats_s" not in values
    assert values["hrv"]["beats"] == found.hrv.beats and values["hrv_missing"] is None


def test_the_wave_is_refined_where_it_is_reliable_and_nowhere_else():
    """The same pulse in noise throughout; in the second half the face is lost."""
    fps = 30.0
    times = np.arange(1800) / fps
    clean = np.sin(2 * np.pi * 1.2 * times)
    noise = bandpass(np.random.default_rng(0).standard_normal(len(times)), fps)
    skin = np.array([150, 120, 90, 60]) + 20 * (clean + 0.7 * noise)[:, None]  # four channels:
    frames = np.broadcast_to(np.rint(skin)[:, None, None], (len(times), 2, 2, 4))  # no reference
    crops = FaceCrops(frames.astype(np.uint8), times, times < 30)
    found = predict_crops(crops, lambda part, rate: part.mean((1, 2, 3)).astype(np.float64))
    seen, lost = slice(60, 780), slice(1200, 1740)
    before = np.corrcoef(found.measured[seen], clean[seen])[0, 1]
    after = np.corrcoef(found.bvp[seen], clean[seen])[0, 1]
    assert after > before + 0.02 and after > 0.97
    assert np.corrcoef(found.bvp[lost], found.measured[lost])[0, 1] > 0.999


def test_why_there_is_no_variability(crops):
    found = predict_crops(crops, find_estimator("pos"))
    assert found.hrv is None and "at least 30 s" in found.hrv_missing
    values = found.to_json()
    assert values["hrv"] is None and values["hrv_missing"] == found.hrv_missing


def test_titles_in_letters_the_font_lacks(tmp_path, crops):
    found = predict_crops(crops, find_estimator("green"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_prediction(tmp_path / "a.svg", found, title="脸 é \n.mp4")
        plot_prediction(tmp_path / "a.png", found, title="😀\udc80")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_no_valid_frame_is_an_input_error(crops):
    blind = replace(crops, valid=np.zeros_like(crops.valid))
    with pytest.raises(InputError, match="face"):
        predict_crops(blind, find_estimator("pos"))


def test_a_face_lost_half_way(crops):
    """The part with a face is measured; windows without a face have no rate."""
    lost = replace(crops, valid=crops.times_s < 6)
    whole = predict_crops(crops, find_estimator("pos"))
    found = predict_crops(lost, find_estimator("pos"))
    assert found.face_share == pytest.approx(0.5, abs=0.02) and whole.face_share == 1
    assert len(found.rates.start_s) == len(whole.rates.start_s)
    assert np.isnan(found.rates.hr_bpm[-1])
    json.dumps(found.to_json(), allow_nan=False)


def test_a_picture_that_never_changes_has_no_pulse(crops):
    still = replace(crops, frames=np.full_like(crops.frames, 120))
    for method in ("fcus", "pos", "chrom", "green"):
        found = predict_crops(still, find_estimator(method))
        assert not found.reliable, method
        json.dumps(found.to_json(), allow_nan=False)


def test_the_continuous_rates_are_beside_those_of_each_window(tmp_path):
    """Ten seconds in which a lamp is louder than the pulse."""
    times = np.arange(1200) / 30
    wave = np.sin(2 * np.pi * 1.2 * times)
    wave += np.where((times >= 15) & (times < 25), 1.6 * np.sin(2 * np.pi * 2.2 * times), 0)
    frames = np.broadcast_to(120 + wave[:, None, None, None], (1200, 2, 2, 3))
    crops = FaceCrops(np.rint(20 * frames - 2280).astype(np.uint8), times, times >= 0)
    found = predict_crops(crops, lambda part, rate: part.mean((1, 2, 3)).astype(np.float64))
    assert found.rates.hr_bpm[15] == pytest.approx(132, abs=1)
    np.testing.assert_allclose(found.continuous.hr_bpm, 72, atol=1)
    np.testing.assert_array_equal(found.continuous.quality, found.rates.quality)
    window = found.to_json(bvp=False)["windows"][15]
    assert window["hr_bpm"] == pytest.approx(132, abs=1)
    assert window["continuous_bpm"] == pytest.approx(72, abs=1)
    lines = prediction_figure(found, title="").axes[1].get_lines()
    drawn = [line.get_ydata() for line in lines if line.get_label() == "continuous"]
    np.testing.assert_array_equal(drawn, [found.continuous.hr_bpm])


def test_unknown_values_become_null():
    nothing = np.full(3, np.nan)
    found = Prediction(
        hr_bpm=np.nan,
        quality=np.nan,
        times_s=np.array([0.0, 0.5, 1.0]),
        bvp=np.array([1.0, np.nan, -1.0]),
        measured=np.array([1.0, np.nan, -1.0]),
        rates=RateSeries(np.arange(3.0), 10 + np.arange(3.0), nothing, np.zeros(3)),
        face_share=1.0,
        seconds={"video": 0.2, "pulse": 0.1},
        frames=10,
    )
    assert not found.reliable
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert values["hr_bpm"] is None and values["quality"] is None
    assert [window["hr_bpm"] for window in values["windows"]] == [None] * 3
    assert [window["continuous_bpm"] for window in values["windows"]] == [None] * 3
    assert values["bvp"] == {"time_s": [0.0, 0.5, 1.0], "value": [1.0, None, -1.0]}
    assert values["ms_per_frame"] == {"video": 20.0, "pulse": 10.0}
    assert values["reliable"] is False and values["duration_s"] == 1.0


def test_unknown_rates_in_csv_and_plot(tmp_path, crops):
    found = predict_crops(crops, find_estimator("green"))
    gap = replace(found.rates, hr_bpm=np.full_like(found.rates.hr_bpm, np.nan))
    found = replace(found, hr_bpm=np.nan, rates=gap)
    write_rates(tmp_path / "deep" / "rates.csv", found)
    rows = (tmp_path / "deep" / "rates.csv").read_text().splitlines()
    assert rows[0] == "start_s,end_s,hr_bpm,quality,reason" and len(rows) == 1 + len(gap.start_s)
    assert all(row.split(",")[2] == "" for row in rows[1:])
    for suffix in (".png", ".SVG", ".pdf"):
        plot_prediction(tmp_path / f"plot{suffix}", found, title="cost in $ and _ of 100 %")
        assert (tmp_path / f"plot{suffix}").stat().st_size > 1000
    with pytest.raises(InputError, match=r"plot\.jpg.*\.png"):
        plot_prediction(tmp_path / "plot.jpg", found, title="")
    assert not (tmp_path / "plot.jpg").exists()
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_beats_lie_on_the_peaks_of_the_drawn_wave(crops):
    found = predict_crops(crops, find_estimator())
    assert len(found.beats_s) > 8
    top, *_ = prediction_figure(found, title="").axes
    wave, beats = (
        next(line for line in top.lines if line.get_label() == label)
        for label in ("measured", "beats")
    )
    times_s, values = wave.get_data()
    for at, height in zip(*beats.get_data(), strict=True):
        near = values[np.abs(times_s - at) < 0.1]
        assert height > near.max() - 0.05  # a peak between two samples is drawn a little lower


def test_a_steady_rate_is_drawn_as_steady(crops):
    found = predict_crops(crops, find_estimator())
    steady = replace(found.rates, hr_bpm=np.linspace(70, 70.5, len(found.rates.hr_bpm)))
    varied = replace(steady, hr_bpm=np.linspace(60, 100, len(steady.hr_bpm)))
    unknown = replace(steady, hr_bpm=np.full(len(steady.hr_bpm), np.nan))
    limits = []
    for rates in (steady, varied, unknown):
        figure = prediction_figure(replace(found, rates=rates, continuous=None), title="")
        limits.append(figure.axes[1].get_ylim())
    assert limits[0] == pytest.approx((60.25, 80.25))
    assert limits[1] == pytest.approx((58, 102))
    assert np.isfinite(limits[2]).all()


def test_find_estimator_names_the_choices(tmp_path):
    with pytest.raises(InputError, match=r"'nope'.*fcus.*pos"):
        find_estimator("nope")
    with pytest.raises(InputError, match="takes no checkpoint"):
        find_estimator("pos", tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"a\.safetensors: no such file"):
        find_estimator("fcus", tmp_path / "a.safetensors")
