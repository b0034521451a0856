"""Every layout: names in order, waveform and times to the millisecond, images in step."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from rppg.data.check import check_recording
from rppg.data.datasets import DATASETS
from rppg.data.specs import open_dataset
from rppg.errors import InputError
from rppg.types import Recording

NAMES = [name for name in DATASETS if name != "folder"]
EXACT = {"ubfc-rppg", "pure", "mmpd", "scamps", "ibvp", "buaa-mihr", "manifest"}
"""Layouts whose images are stored without loss."""


def spec_of(name: str, root: Path, query: str = "") -> str:
    return f"{name}:{root / 'list.csv' if name == 'manifest' else root}{query}"


def opened(spec: str) -> list[Recording]:
    return open_dataset(spec, split="train", subjects=1)


def the_record(dataset, name: str, query: str = ""):
    root, written = dataset(name)
    recordings = opened(spec_of(name, root, query))
    (recording,) = [recording for recording in recordings if recording.name == written.record]
    return recording, written


@pytest.mark.parametrize("name", NAMES)
def test_records_are_listed_in_natural_order(dataset, name):
    root, written = dataset(name)
    recordings = opened(spec_of(name, root))
    assert tuple(recording.name for recording in recordings) == written.others
    recording = next(recording for recording in recordings if recording.name == written.record)
    assert recording.subject == written.subject
    assert dict(recording.metadata) == written.metadata
    expected = str(root / "list.csv") if name == "manifest" else name
    assert {recording.dataset for recording in recordings} == {expected}
    assert set(recording.metadata) <= {*DATASETS[name].filters, "split"} or name == "manifest"


@pytest.mark.parametrize("name", NAMES)
def test_waveform_and_times_to_the_millisecond(dataset, name):
    recording, written = the_record(dataset, name)
    truth = recording.load_truth()
    np.testing.assert_allclose(truth.times_s, written.truth_times_s, atol=1e-4)
    np.testing.assert_allclose(truth.bvp, written.bvp, atol=1e-6)
    times = [frame.time_s for frame in recording.video.frames()]
    np.testing.assert_allclose(times, written.frame_times_s, atol=1e-4)
    assert (recording.load_rate is None) == (written.bpm is None)
    if written.bpm is not None:
        np.testing.assert_allclose(recording.load_rate().bpm, written.bpm, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_beat_in_step_with_the_wave(dataset, name):
    """Through cropping: a loader that is one frame or one sample off fails here."""
    recording, _ = the_record(dataset, name, "?face=full")
    crops, truth = recording.load_crops(), recording.load_truth()
    assert crops.frames.shape[1:] == (48, 48, 3) and crops.valid.all()
    green = crops.frames[..., 1].mean(axis=(1, 2))
    red = crops.frames[..., 0].mean(axis=(1, 2))
    good = np.isfinite(truth.bvp)
    inside = (crops.times_s >= truth.times_s[0]) & (crops.times_s <= truth.times_s[-1])
    bvp = np.interp(crops.times_s, truth.times_s[good], truth.bvp[good])[inside]
    scale, level = np.polyfit(bvp, green[inside], 1)
    error = np.abs(green[inside] - scale * bvp - level).max()
    # One frame's delay moves the green by up to 10; what is left is rounding, codec, interpolation.
    assert scale > 0 and error < (1.5 if name in EXACT else 4)
    assert np.ptp(red) < (0.6 if name in EXACT else 4)


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_record_has_no_defect(dataset, name):
    recording, _ = the_record(dataset, name)
    kinds = [defect.kind for defect in check_recording(recording)]
    assert kinds == (["nan"] if name == "ibvp" else [])


@pytest.mark.parametrize("name", ["mmpd", "scamps"])
def test_layouts_that_show_little_but_the_face_need_no_detector(dataset, name):
    recording, _ = the_record(dataset, name)
    crops = recording.load_crops()
    height, width = next(recording.video.frames()).rgb.shape[:2]
    np.testing.assert_allclose(crops.boxes, np.tile([0, 0, width, height], (len(crops.boxes), 1)))


def test_listing_reads_no_picture_and_no_wave(dataset, tmp_path):
    """Names are enough: files of no content are listed all the same."""
    for file in ("subject3/vid.avi", "subject3/ground_truth.txt"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert [recording.name for recording in opened(f"ubfc-rppg:{tmp_path}")] == ["subject3"]


def test_a_folder_above_the_dataset_will_do(dataset, tmp_path):
    root, _ = dataset("ubfc-rppg")
    (tmp_path / "UBFC").mkdir()
    (tmp_path / "UBFC" / "DATASET_2").symlink_to(root)
    (tmp_path / "UBFC" / "other").mkdir()
    assert len(opened(f"ubfc-rppg:{tmp_path / 'UBFC'}")) == 3


def test_pictures_of_pure_beside_the_json(dataset, tmp_path):
    """Some copies unpack into one folder."""
    root, written = dataset("pure")
    (tmp_path / "01-03").mkdir()
    (tmp_path / "01-03" / "01-03.json").symlink_to(root / "01-03" / "01-03.json")
    for image in (root / "01-03" / "01-03").iterdir():
        (tmp_path / "01-03" / image.name).symlink_to(image)
    (recording,) = opened(f"pure:{tmp_path}")
    times = [frame.time_s for frame in recording.video.frames()]
    np.testing.assert_allclose(times, written.frame_times_s, atol=1e-4)


def test_without_time_txt_the_file_has_the_clock(dataset, tmp_path):
    root, _ = dataset("vipl-hr")
    folder = tmp_path / "p2" / "v1" / "source2"
    folder.mkdir(parents=True)
    for name in ("video.avi", "wave.csv"):
        (folder / name).symlink_to(root / "data/p2/v1-2/source1" / name)
    (recording,) = opened(f"vipl-hr:{tmp_path}")
    times = [frame.time_s for frame in recording.video.frames()]
    np.testing.assert_allclose(times, np.arange(160) / 25, atol=1e-4)
    assert recording.metadata["camera"] == "phone" and recording.load_rate is None


def test_cohface_without_times_goes_by_its_rate(dataset, tmp_path):
    import h5py

    folder = tmp_path / "1" / "0"
    folder.mkdir(parents=True)
    with h5py.File(folder / "data.hdf5", "w") as file:
        file["pulse"] = np.arange(1000.0)
        file.attrs["sample-rate-hz"] = 250
    (recording,) = opened(f"cohface:{tmp_path}")
    np.testing.assert_allclose(recording.load_truth().times_s, np.arange(1000) / 250)


def test_mmpd_in_a_matlab_7_3_file_is_streamed(write, tmp_path):
    (tmp_path / "subject1").mkdir()
    times = np.arange(190) / 30
    arrays = {"video": write.images(times) / 255.0, "GT_ppg": write.wave(times)[None]}
    write.matlab73(tmp_path / "subject1" / "p1_0.mat", arrays)
    (recording,) = opened(f"mmpd:{tmp_path}")
    assert recording.video.probe().frames == 190
    frames = [frame.rgb for frame in recording.video.frames()]
    np.testing.assert_array_equal(frames, write.images(times))
    np.testing.assert_allclose(recording.load_truth().bvp, write.wave(times))


@pytest.mark.parametrize("name", ["pure", "mmpd", "bp4d", "vipl-hr"])
def test_a_part_of_a_source_that_is_no_file(dataset, name):
    recording, written = the_record(dataset, name)
    times = written.frame_times_s
    first, whole = times[40], list(recording.video.frames())
    part = list(recording.video.frames(float(first), 1.0, reduce=2))
    expected = times[(times >= first - 1e-6) & (times < first + 1 - 1e-6)] - first
    np.testing.assert_allclose([frame.time_s for frame in part], expected, atol=1e-4)
    height, width = whole[0].rgb.shape[:2]
    assert part[0].rgb.shape == (height // 2, width // 2, 3)
    mean = whole[40].rgb.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    assert np.abs(part[0].rgb - mean).max() <= (1 if name != "vipl-hr" else 8)


@pytest.mark.parametrize("name", ["pure", "mmpd", "bp4d", "vipl-hr", "cohface"])
@pytest.mark.parametrize("part", [(0.0, np.nan), (0.0, 0.0), (0.0, -1.0), (np.nan, 1.0), (-1, 1.0)])
def test_a_part_that_is_none_is_refused(dataset, name, part):
    recording, _ = the_record(dataset, name)
    with pytest.raises(InputError, match="positive duration"):
        next(recording.video.frames(*part))


def test_a_face_is_found_and_followed_in_single_pictures(tmp_path):
    """As in a file: PNG files of a moving portrait, at 10 Hz."""
    portrait = data.astronaut()[:320, 70:390]
    folder = tmp_path / "01-01" / "01-01"
    folder.mkdir(parents=True)
    for k in range(60):
        left = 40 + round(20 * np.sin(k / 10))
        seen = np.ascontiguousarray(portrait[20:260, left : left + 240])
        Image.fromarray(seen).save(folder / f"Image{10**18 + k * 10**8}.png", compress_level=1)
    (recording,) = opened(f"pure:{tmp_path}")
    crops = recording.load_crops()
    assert crops.valid.all() and crops.fps == pytest.approx(10)
    middle = crops.boxes[:, 0] + crops.boxes[:, 2] / 2
    path = 20 * np.sin(np.arange(60) / 10)
    assert np.corrcoef(middle, -path)[0, 1] > 0.98
