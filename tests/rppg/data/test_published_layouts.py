"""Layouts as they are published and unpacked, beside those that `conftest.py` writes."""

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from rppg.data import writers
from rppg.data.check import check_recording
from rppg.data.layouts import ubfc_rppg
from rppg.data.specs import open_dataset
from rppg.errors import InputError
from rppg.evaluation import evaluate
from rppg.predict import find_estimator
from rppg.types import Recording
from rppg.video import write_video
from rppg.video.crop import FaceRegion


def opened(spec: str) -> list[Recording]:
    return open_dataset(spec, split="train", subjects=1)


# --- SCAMPS ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scamps_file(write, tmp_path_factory) -> Path:
    """A file with frames of the published sizes."""
    times = np.arange(3) / 30
    arrays = {
        "RawFrames": write.images(times, 240, 320) / 255.0,
        "Xsub": 1 - write.images(times, 240, 240) / 255.0,
        "d_ppg": write.wave(times)[:, None],
    }
    path = tmp_path_factory.mktemp("scamps") / "P.mat"
    write.matlab73(path, arrays)
    return path


@pytest.fixture
def scamps(scamps_file, tmp_path: Path) -> Path:
    """`scamps_videos.tar.gz` unpacked."""
    folder = tmp_path / "scamps_videos"
    folder.mkdir()
    for number in (1, 2, 10):
        (folder / f"P{number:06d}.mat").symlink_to(scamps_file)
    return folder


def test_scamps_as_its_archive_unpacks(write, scamps):
    recordings = opened(f"scamps:{scamps}")
    assert [r.name for r in recordings] == ["P000001", "P000002", "P000010"]
    assert all(r.metadata == {} for r in recordings)
    (frame, *_) = recordings[0].video.frames()
    np.testing.assert_array_equal(frame.rgb, 255 - write.images(np.zeros(1), 240, 240)[0])
    assert recordings[0].load_crops.face == FaceRegion()  # detected: the frames show more
    np.testing.assert_allclose(recordings[0].load_truth().bvp, write.wave(np.arange(3) / 30))


SPLIT_FILES = [
    "name,split\nP000001,Train\nP000002,Validation\nP000010,Test\n",
    "Train,Val,Test\nP000001.mat,P000002.mat,P000010.mat\n",
    "0,train,P000001\n1,val,P000002\n2,test,P000010\n",
    "Train,P000001\nVal,P000002\nTest,P000010,P000011\n",
]


@pytest.mark.parametrize("text", SPLIT_FILES)
@pytest.mark.parametrize("place", ["ScampsTrainTestSplit.csv", "scamps_videos/ScampsTrainTest"])
def test_the_splits_of_scamps_are_those_of_their_file(scamps, text, place):
    (scamps.parent / place).write_text(text)
    for split, name in (("train", "P000001"), ("validation", "P000002"), ("test", "P000010")):
        for spec in (f"scamps:{scamps}?split={split}", f"scamps:{scamps.parent}?split={split}"):
            assert [r.name for r in opened(spec)] == [name]


def test_recordings_of_scamps_in_no_split_are_named(scamps, caplog):
    (scamps / "splits.csv").write_text("P000001,Train\nP000002,Test\n")
    assert [r.metadata["split"] for r in opened(f"scamps:{scamps}")] == ["train", "test", "none"]
    assert "1 of 3 recordings are in no split, first P000010.mat" in caplog.text
    with pytest.raises(InputError, match="no subject of 3 is in split validation"):
        opened(f"scamps:{scamps}?split=validation")
    (scamps / "splits.csv").write_text("P000001,Train\nP000001,Test\n")
    assert all(r.metadata == {} for r in opened(f"scamps:{scamps}"))
    assert "P000001 is in two splits" in caplog.text


def test_a_folder_of_scamps_named_as_a_split(scamps):
    train = scamps.rename(scamps.with_name("Train"))
    assert {r.metadata["split"] for r in opened(f"scamps:{train}")} == {"train"}


# --- UBFC-rPPG, its first part ---------------------------------------------------------------


def write_first_part(
    folder: Path, write, video: str = "vid.avi", separator: str = ","
) -> np.ndarray:
    """A recording of DATASET_1; returns the sensor's times."""
    folder.mkdir(parents=True)
    writers.write_raw_avi(folder / video, write.images(np.arange(180) / 30), 30)
    ms = np.cumsum(np.random.default_rng(0).integers(14, 19, 380))
    columns = (ms, np.full(380, 72), np.full(380, 98), 50 + 40 * write.wave(ms / 1000))
    rows = [separator.join(f"{value:.6g}" for value in row) for row in zip(*columns, strict=True)]
    (folder / "gtdump.xmp").write_text("\n".join(rows) + "\n")
    return ms / 1000


def test_the_first_part_of_ubfc(write, tmp_path):
    times = write_first_part(tmp_path / "DATASET_1" / "10-gt", write)
    write_first_part(tmp_path / "DATASET_1" / "after-exercise", write, "vid-12.avi", " ")
    write_first_part(tmp_path / "DATASET_1" / "5-gt" / "5-gt", write)
    recordings = opened(f"ubfc-rppg:{tmp_path}")
    assert [r.name for r in recordings] == ["5-gt", "10-gt", "after-exercise"]
    for recording in recordings:
        truth, rate = recording.load_truth(), recording.load_rate()
        np.testing.assert_allclose(truth.times_s, times)
        np.testing.assert_allclose(truth.bvp, 50 + 40 * write.wave(times), atol=1e-3)
        np.testing.assert_array_equal(rate.times_s, truth.times_s)
        assert set(rate.bpm) == {72} and check_recording(recording) == []


def test_both_parts_of_ubfc_in_one_folder(dataset, write, tmp_path, caplog):
    """The second, as before the first was read, and the first is named."""
    second, written = dataset("ubfc-rppg")
    write_first_part(tmp_path / "DATASET_1" / "5-gt", write)
    (tmp_path / "DATASET_2").symlink_to(second)
    assert tuple(r.name for r in opened(f"ubfc-rppg:{tmp_path}")) == written.others
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path / 'DATASET_1'}: of the first part, passed over")
    assert [r.name for r in opened(f"ubfc-rppg:{tmp_path / 'DATASET_1'}")] == ["5-gt"]


def test_a_dump_that_cannot_be_read(write, tmp_path):
    path = tmp_path / "gtdump.xmp"
    path.write_text("0,72,98,50\n16,72,98\n")
    with pytest.raises(InputError, match="line 2 has 3 values; expected 4: time in ms, heart rate"):
        ubfc_rppg.read_truth(path)


# --- PURE ------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["01-03", "."])
def test_the_json_of_pure_beside_the_folder(dataset, tmp_path, inner):
    root, written = dataset("pure")
    folder = tmp_path / "01-03" / inner
    folder.mkdir(parents=True)
    for image in (root / "01-03" / "01-03").iterdir():
        (folder / image.name).symlink_to(image)
    (tmp_path / "01-03.json").symlink_to(root / "01-03" / "01-03.json")
    (recording,) = opened(f"pure:{tmp_path}")
    np.testing.assert_allclose(recording.load_truth().times_s, written.truth_times_s, atol=1e-4)
    assert check_recording(recording) == []


# --- BUAA-MIHR -------------------------------------------------------------------------------


def write_lux(root: Path, write, *truths: str) -> Path:
    """A folder as published, with a video that a user has put there."""
    folder = root / "Sub 01" / "lux 10.0"
    folder.mkdir(parents=True)
    for name in ("face_crop", "lux10.0_APH", "lux10.0_LXR"):
        (folder / f"{name}.avi").touch()
    at = np.arange(384) / 60
    for factor, name in enumerate(truths, 1):
        data = {"PPG": {"data": factor * write.wave(at)[:, None]}}
        scipy.io.savemat(folder / f"{name}.mat", data)
    return folder


def test_several_videos_of_buaa_and_one_ground_truth(write, tmp_path, caplog):
    folder = write_lux(tmp_path, write, "lux10.0_PPGData")
    (recording,) = opened(f"buaa-mihr:{tmp_path}")
    assert recording.name == "Sub 01/lux 10.0"
    assert recording.files == (folder / "lux10.0_APH.avi", folder / "lux10.0_PPGData.mat")
    (message,) = caplog.messages
    assert "lux10.0_APH.avi read, face_crop.avi, lux10.0_LXR.avi passed over" in message


@pytest.mark.parametrize("first", ["lux10.0_APH_PPGData", "lux10.0_PPGData"])
def test_several_videos_of_buaa_with_a_ground_truth_each(write, tmp_path, first):
    write_lux(tmp_path, write, first, "lux10.0_LXR_PPGData")
    recordings = opened(f"buaa-mihr:{tmp_path}")
    assert [(r.name, r.subject) for r in recordings] == [
        ("Sub 01/lux 10.0/lux10.0_APH", "Sub 01"), ("Sub 01/lux 10.0/lux10.0_LXR", "Sub 01")
    ]  # fmt: skip
    for factor, recording in enumerate(recordings, 1):
        bvp = factor * write.wave(np.arange(384) / 60)
        np.testing.assert_allclose(recording.load_truth().bvp, bvp)
        assert recording.files[0].stem == recording.name.rpartition("/")[2]


# --- BP4D+ -----------------------------------------------------------------------------------


def check_unpacked(root: Path, written) -> None:
    """The recording of the archive, from its unpacked frames."""
    (recording,) = [r for r in opened(f"bp4d:{root}?face=full") if r.name == written.record]
    assert dict(recording.metadata) == written.metadata
    truth = recording.load_truth()
    np.testing.assert_allclose(truth.times_s, written.truth_times_s, atol=1e-4)
    np.testing.assert_allclose(truth.bvp, written.bvp, atol=1e-6)
    np.testing.assert_allclose(recording.load_rate().bpm, written.bpm)
    times = [frame.time_s for frame in recording.video.frames()]
    np.testing.assert_allclose(times, written.frame_times_s, atol=1e-4)
    assert check_recording(recording) == []


@pytest.mark.parametrize("place", ["2D+3D", "2D+3D/F001", "."])
def test_bp4d_unpacked(dataset, tmp_path, place):
    root, written = dataset("bp4d")
    with zipfile.ZipFile(root / "2D+3D" / "F001.zip") as archive:
        archive.extractall(tmp_path / place)
    (tmp_path / "Physiology").symlink_to(root / "Physiology")
    assert tuple(r.name for r in opened(f"bp4d:{tmp_path}")) == written.others
    check_unpacked(tmp_path, written)


@pytest.mark.parametrize("video", ["F001/T2/vid.avi", "F001/T2.avi"])
def test_bp4d_as_videos_beside_their_physiology(dataset, write, tmp_path, video):
    root, written = dataset("bp4d")
    shutil.copytree(root / "Physiology" / "F001", tmp_path / "F001")
    writers.write_raw_avi(tmp_path / video, write.images(written.frame_times_s), 25)
    check_unpacked(tmp_path, written)


def test_an_archive_of_bp4d_goes_before_its_folder(dataset, tmp_path):
    root, written = dataset("bp4d")
    shutil.copytree(root, tmp_path / "BP4D")
    (tmp_path / "BP4D" / "2D+3D" / "F001" / "T2").mkdir(parents=True)
    (tmp_path / "BP4D" / "2D+3D" / "F001" / "T2" / "000.jpg").touch()
    check_unpacked(tmp_path / "BP4D", written)


# --- VIPL-HR-V2 ------------------------------------------------------------------------------

GT = """  ,video1 ,video2 ,video3 ,video4, video5
Heart rate ,72.000000 ,101.000000 ,0.000000 ,103.600000, 106.500000
fps_mean ,20.000000 ,25.700000 ,24.600000 ,21.900000, 21.300000
"""


@pytest.fixture
def vipl_v2(write, tmp_path: Path) -> Path:
    """A video with a pulse of 72 bpm at 20 Hz, whose header says 30, and one that is missing."""
    folder = tmp_path / "train" / "7"
    folder.mkdir(parents=True)
    for number in (1, 3, 4, 5):
        frames = write.images(np.arange(400) / 20)
        write_video(folder / f"video{number}.avi", frames, fps=30, codec="mjpeg", qscale=2)
    (folder / "gt.csv").write_text(GT)
    (tmp_path / "test" / "80").mkdir(parents=True)
    (tmp_path / "test" / "80" / "video1.avi").symlink_to(folder / "video1.avi")
    return tmp_path


def test_vipl_v2_has_a_rate_and_no_wave(vipl_v2):
    recordings = opened(f"vipl-hr:{vipl_v2}?face=full")
    assert [r.name for r in recordings] == [f"7/video{number}" for number in range(1, 6)]
    first, second, third, *_ = recordings
    assert first.rate_only and first.subject == "7" and check_recording(first) == []
    assert first.load_crops().fps == pytest.approx(20)
    assert check_recording(second)[0].kind == "missing"
    assert any("0 of 17 heart rates are usable" in d.message for d in check_recording(third))
    result = evaluate([first], {"green": find_estimator("green")})
    for row in (*result.windows, *result.clips):
        assert row.hr_true_bpm == pytest.approx(72, abs=0.3)
        assert row.hr_pred_bpm == pytest.approx(72, abs=0.3)
        assert np.isnan(row.correlation)


def test_vipl_v2_without_ground_truth(vipl_v2):
    (recording,) = opened(f"vipl-hr:{vipl_v2 / 'test'}")
    assert recording.name == "80/video1" and recording.load_truth is None
    assert recording.video.probe().fps == pytest.approx(30)


def test_a_header_of_vipl_v2_that_claims_years(vipl_v2, monkeypatch):
    (first, *_) = opened(f"vipl-hr:{vipl_v2}")
    info = replace(first.video.probe(), duration_s=1e9)
    monkeypatch.setattr(type(first.video), "probe", lambda _: info)
    with pytest.raises(InputError, match=r"video1\.avi: 1e\+09 s by its header"):
        first.load_truth()
