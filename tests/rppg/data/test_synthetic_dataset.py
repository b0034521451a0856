"""Synthetic people in public layouts: written as real files, used as the real thing is."""

import json
import os
import subprocess
import sys

import av
import numpy as np
import pytest

from rppg.atomic import atomic_folder
from rppg.data import synthetic_dataset
from rppg.data.check import check_recording
from rppg.data.datasets import DATASETS
from rppg.data.specs import open_dataset
from rppg.data.synthetic_dataset import LAYOUTS, default_layout, write_dataset
from rppg.errors import InputError
from rppg.signals import bandpass, resample
from rppg.synthetic.cache import find_domain
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.filmed.domains import FILMED_DOMAINS
from rppg.synthetic.scene import render_scene, write_scene
from rppg.synthetic.subjects import draw_profile, draw_subject
from rppg.video import read_frames

FOUND_AGAIN = {
    "ubfc-rppg": ["subject1"],
    "pure": ["01-01"],
    "cohface": ["1/0"],
    "mmpd": ["p1_0"],
    "vipl-hr": ["p1/v1/source1", "p1/v1/source2"],
    "manifest": ["001.mp4"],
}
MIRRORS = {**{default_layout(name): name for name in DOMAINS}, "manifest": "phone"}
"""From a layout to a domain that it is the default of."""


def still_person() -> int:
    """The first of `lab` who keeps still: then the pulse is what the green shows."""
    lab = find_domain("lab")
    return next(n for n in range(100) if draw_profile(lab, n).motion.name == "still")


@pytest.mark.default_cases(2)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_written_is_whole_and_beats_in_step(tmp_path, layout):
    """A frame's delay between images and ground truth would be seen."""
    number = still_person()
    reported = []
    spec = write_dataset(
        "lab", tmp_path / "out", layout=layout, subjects=1, first=number, duration_s=6,
        progress=lambda done, total: reported.append((done, total)),
    )  # fmt: skip
    assert spec.startswith(f"{layout}:{tmp_path / 'out'}") and reported == [(1, 1)]
    recordings = open_dataset(spec, split="train", subjects=1)
    assert [recording.name for recording in recordings] == FOUND_AGAIN[layout]
    subject = draw_subject(find_domain("lab"), number, 6)
    for recording in recordings:
        assert check_recording(recording) == []
        truth = recording.load_truth()
        there = resample(subject.truth.bvp, subject.truth.times_s, truth.times_s)
        np.testing.assert_allclose(truth.bvp, there, atol=0.03)
        if recording.load_rate is not None:
            beats = np.abs(np.fft.rfft(truth.bvp * np.hanning(len(truth.bvp)), 1 << 15))
            bpm = 60 * np.fft.rfftfreq(1 << 15, truth.times_s[-1] / (len(truth.bvp) - 1))
            strongest = bpm[(bpm > 45)][np.argmax(beats[bpm > 45])]
            assert np.mean(recording.load_rate().bpm) == pytest.approx(strongest, abs=5)
        crops = recording.load_crops()  # the face is looked for
        assert crops.valid.all()
        if layout == "cohface":
            continue  # too compressed for single pixels to follow the pulse
        box = crops.boxes[:, 0] + crops.boxes[:, 2] / 2
        assert np.abs(box - 160).max() < 25
        middle = crops.frames[:, 12:36, 12:36, 1].mean(axis=(1, 2))
        green = bandpass(middle / middle.mean(), crops.fps)
        lags = np.arange(-6, 7) / 60
        seen = [
            -np.corrcoef(
                green,
                bandpass(np.interp(crops.times_s - lag, truth.times_s, truth.bvp), crops.fps),
            )[0, 1]
            for lag in lags
        ]
        assert max(seen) > 0.6
        assert abs(lags[int(np.argmax(seen))]) < 1 / crops.fps


def test_each_domain_goes_into_the_layout_that_it_mirrors():
    for name, domain in DOMAINS.items():
        assert DATASETS[default_layout(name)].title == domain.mirrors
    assert default_layout("webcam") == "ubfc-rppg"
    assert default_layout("wild@1") == "vipl-hr"
    assert {default_layout(name) for name in FILMED_DOMAINS} == {"manifest"}


def test_people_are_those_of_the_domain_and_their_setups_are_told(tmp_path):
    spec = write_dataset("lab", tmp_path / "a", subjects=2, first=1, duration_s=5)
    motions = {"still": "steady", "translation": "slow translation", "rotation": "small rotation"}
    recordings = open_dataset(spec, split="train", subjects=1)
    assert [recording.subject for recording in recordings] == ["01", "02"]
    for number, recording in enumerate(recordings, start=1):
        name = draw_profile(find_domain("lab"), number).motion.name
        assert recording.metadata["motion"] == motions.get(name, name)


def test_cameras_of_the_wild_differ_but_film_the_same_pulse(tmp_path):
    spec = write_dataset("wild", tmp_path / "a", subjects=1, duration_s=5)
    first, second = open_dataset(spec, split="train", subjects=1)
    assert (tmp_path / "a" / first.name / "time.txt").exists()
    assert not (tmp_path / "a" / second.name / "time.txt").exists()
    np.testing.assert_array_equal(first.load_truth().bvp, second.load_truth().bvp)
    one, other = (next(r.video.frames()).rgb.mean(axis=(0, 1)) for r in (first, second))
    assert np.abs(one - other).max() > 3
    steps = [np.diff([frame.time_s for frame in r.video.frames()]) for r in (first, second)]
    assert np.std(steps[0]) > 1e-3 > np.std(steps[1])


def test_light_motion_and_skin_of_the_mobile_are_told_as_in_mmpd(tmp_path):
    mobile = find_domain("mobile")
    number = next(n for n in range(100) if draw_profile(mobile, n).motion.hr_bpm)
    cast = draw_profile(mobile, number)
    spec = write_dataset("mobile", tmp_path / "a", subjects=1, first=number, duration_s=2)
    (recording,) = open_dataset(spec, split="train", subjects=1)
    assert recording.metadata["motion"] == "Stationary (after exercise)"
    assert recording.metadata["exercise"] == "True"
    assert recording.metadata["light"] == cast.light.name
    assert recording.metadata["skin_type"] == str(cast.skin_type)


@pytest.mark.parametrize(
    ("domain", "codec"),
    [("codec", "mpeg4"), ("mobile", "h264"), pytest.param("lab", "h264", marks=pytest.mark.slow)],
)
def test_a_video_goes_through_the_codec_of_its_domain(tmp_path, domain, codec):
    scene = write_scene(domain, 3, tmp_path / "a.mp4", duration_s=2)
    with av.open(str(scene.video)) as container:
        assert container.streams.video[0].codec_context.name == codec


def test_the_same_person_gives_the_same_video(tmp_path):
    def written(name):
        scene = write_scene("lab", 3, tmp_path / name, duration_s=2)
        return np.stack([frame.rgb for frame in read_frames(scene.video)])

    np.testing.assert_array_equal(written("a.mp4"), written("b.mp4"))


def test_plain_pictures_of_a_domain_with_a_codec_went_through_it(tmp_path):
    number = 3
    spec = write_dataset("codec", tmp_path / "a", layout="pure", subjects=1, first=number,
                         duration_s=5)  # fmt: skip
    (recording,) = open_dataset(spec, split="train", subjects=1)
    written = [frame.rgb for frame in recording.video.frames()]
    plain = render_scene(draw_subject(find_domain("codec"), number, 5))
    coarse = [
        np.abs(np.diff(images[0].astype(float), axis=0)).mean() for images in (written, plain)
    ]
    assert coarse[0] < 0.8 * coarse[1]  # what a codec drops first is the finest grain


def test_a_folder_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    def half(root, number, subject):
        (root / "subject1").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(synthetic_dataset, "LAYOUTS", {"pure": half})
    with pytest.raises(KeyboardInterrupt):
        write_dataset("lab", tmp_path / "new" / "out", layout="pure", duration_s=5)
    assert list((tmp_path / "new").iterdir()) == []


def test_what_exists_is_never_overwritten(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("mine", "file", "link"):
        with pytest.raises(InputError, match=f"{name}: exists already"):
            write_dataset("lab", tmp_path / name)
    with pytest.raises(InputError, match="file is a file"):
        write_dataset("lab", tmp_path / "file" / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "mine"]
    with atomic_folder(tmp_path / "good") as folder:
        (folder / "a").touch()
    assert [path.name for path in (tmp_path / "good").iterdir()] == ["a"]


def test_unknown_names_are_told_with_the_known(tmp_path):
    with pytest.raises(InputError, match=r"'nope'.*ubfc-rppg, pure, cohface, mmpd, vipl-hr"):
        write_dataset("lab", tmp_path / "a", layout="nope")
    with pytest.raises(InputError, match=r"'nope'.*lab@1"):
        write_dataset("nope", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_whole_path_from_files_to_the_table(tmp_path, layout):
    """`rppg synthesize`, `check`, `evaluate`, `train`, `predict`, each as a command."""

    def rppg(*arguments):
        ended = subprocess.run(
            [sys.executable, "-m", "rppg", *map(str, arguments)],
            env={**os.environ, "RPPG_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert "Traceback" not in ended.stderr
        return ended.stdout

    domain, root = MIRRORS[layout], tmp_path / "data"
    spec = rppg(
        "synthesize", "--domain", domain, "--subjects", 3, "--layout", layout, "--duration", 12,
        "--out", root,
    ).strip()  # fmt: skip
    reported = rppg("check", spec)
    count = len(reported.splitlines()) - 1
    assert reported.splitlines()[-1].startswith(f"{count} recordings: 0 with defects")
    assert count == (6 if layout == "vipl-hr" else 3)

    result = json.loads(
        rppg("evaluate", "--data", spec, "--method", "pos", "--method", "chrom", "--json",
             "--out", tmp_path / "report")
    )  # fmt: skip
    assert result["failures"] == []
    errors = {
        method: [
            abs(row["hr_pred_bpm"] - row["hr_true_bpm"])
            for row in result["windows"]
            if row["method"] == method
        ]
        for method in ("pos", "chrom")
    }
    assert len(errors["pos"]) == len(errors["chrom"]) == count
    if layout in ("pure", "ubfc-rppg"):  # `lab` and `webcam`, without loss
        assert np.median(errors["pos"]) < 3
    assert (tmp_path / "report" / "report.html").exists()

    config = tmp_path / "small.toml"
    config.write_text("clip_s = 5.0\nbatch_size = 2\n")
    rppg("train", "--data", spec, "--config", config, "--out", tmp_path / "run")
    made = json.loads((tmp_path / "run" / "checkpoint.json").read_text())["provenance"]
    assert made["recordings"] == count and not made["skipped"]
    assert made["datasets"] == [spec.removeprefix("manifest:") if layout == "manifest" else layout]
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    scores = rppg("evaluate", "--data", spec, "--checkpoint", checkpoint, "--json")
    assert len(json.loads(scores)["windows"]) == count
    for video in sorted(root.rglob("*.avi"))[:1]:
        (found,) = json.loads(rppg("predict", video, "--checkpoint", checkpoint, "--json"))[
            "videos"
        ]
        assert found["hr_bpm"] is not None and found["face_share"] > 0.9
