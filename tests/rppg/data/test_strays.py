"""Folders as people have them: stray files, first images missing, names that differ a little."""

import fcntl
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rppg.data.check import check_recording
from rppg.data.layouts import vipl_hr
from rppg.data.reading import from_first_time
from rppg.data.specs import open_dataset
from rppg.types import Recording

START_NS = 1392643993642815000


def opened(spec: str) -> list[Recording]:
    return open_dataset(spec, split="train", subjects=1)


def copied(dataset, name: str, to: Path) -> tuple[Path, Recording]:
    """A copy of a dataset, and its whole recording."""
    root, written = dataset(name)
    shutil.copytree(root, to / name)
    (recording,) = [r for r in opened(f"{name}:{to / name}?face=full") if r.name == written.record]
    return to / name, recording


def lag_s(recording: Recording) -> float:
    """The time by which the images' pulse is late against the ground truth."""
    crops, truth = recording.load_crops(), recording.load_truth()
    green = crops.frames[..., 1].mean(axis=(1, 2))
    lags = np.arange(-0.4, 0.4, 0.01)
    good = np.isfinite(truth.bvp)
    fits = [
        np.corrcoef(green, np.interp(crops.times_s - lag, truth.times_s[good], truth.bvp[good]))
        for lag in lags
    ]
    return float(lags[np.argmax([fit[0, 1] for fit in fits])])


@pytest.mark.parametrize("missing", [1, 7, 20])
@pytest.mark.parametrize(("name", "folder"), [("pure", "01-03/01-03"), ("ibvp", "p02_b/p02_b_rgb")])
def test_ground_truth_keeps_its_place_without_the_first_images(
    dataset, tmp_path, name, folder, missing
):
    root, _ = copied(dataset, name, tmp_path)
    images = sorted(
        (root / folder).iterdir(), key=lambda p: int(p.stem.rpartition("_")[2].strip("Image"))
    )
    for path in images[:missing]:
        path.unlink()
    recording = opened(f"{name}:{root}?face=full")[-1 if name == "ibvp" else 0]
    assert abs(lag_s(recording)) <= 0.015


def test_ground_truth_keeps_its_place_in_an_archive(write, tmp_path):
    """BP4D+, frames 007.jpg to 159.jpg."""
    import zipfile

    (tmp_path / "2D+3D").mkdir()
    folder = tmp_path / "Physiology" / "F001" / "T2"
    folder.mkdir(parents=True)
    times = np.arange(160) / 25
    with zipfile.ZipFile(tmp_path / "2D+3D" / "F001.zip", "w") as archive:
        for k, rgb in list(enumerate(write.images(times)))[7:]:
            archive.writestr(f"F001/T2/{k:03d}.jpg", write.jpeg(rgb))
    at = np.arange(6400) / 1000
    (folder / "BP_mmHg.txt").write_text("".join(f"{v:.5f}\n" for v in 80 + 20 * write.wave(at)))
    (recording,) = opened(f"bp4d:{tmp_path}?face=full")
    assert abs(lag_s(recording)) <= 0.015


def test_a_list_of_images_that_begins_later_moves_nothing(dataset, tmp_path):
    root, recording = copied(dataset, "pure", tmp_path)
    before = recording.load_truth().times_s
    path = root / "01-03" / "01-03.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "/Image": content["/Image"][50:]}))
    np.testing.assert_array_equal(recording.load_truth().times_s, before)


def test_a_recording_numbered_from_elsewhere_begins_with_its_truth(write, tmp_path):
    """iBVP's images 1000 to 1191, with a row for each."""
    folder = tmp_path / "p01_a"
    (folder / "p01_a_rgb").mkdir(parents=True)
    times = np.arange(192) / 30
    for k, rgb in enumerate(write.images(times), start=1000):
        Image.fromarray(rgb).save(folder / "p01_a_rgb" / f"{k}.bmp")
    (folder / "p01_a_bvp.csv").write_text("BVP\n" + "".join(f"{v}\n" for v in write.wave(times)))
    (recording,) = opened(f"ibvp:{tmp_path}")
    assert recording.load_truth().times_s[0] == 0


@pytest.mark.parametrize("stray", ["{} (1).png", "thumb1.png", "Image7.png", "Image9{}.png"])
def test_a_stray_image_is_named_and_left_out(dataset, tmp_path, stray):
    root, recording = copied(dataset, "pure", tmp_path)
    expected = [frame.time_s for frame in recording.video.frames()]
    images = sorted((root / "01-03" / "01-03").iterdir())
    name = stray.format(images[30].stem if "(" in stray else images[30].stem[6:])
    shutil.copy(images[30], images[30].with_name(name))
    recording = opened(f"pure:{root}?face=full")[0]
    (defect,) = check_recording(recording)
    assert not defect.fatal and "1 images don't fit" in defect.message and name in defect.message
    recording = opened(f"pure:{root}?face=full")[0]
    assert [frame.time_s for frame in recording.video.frames()] == expected
    assert recording.load_crops().duration_s < 7


@pytest.mark.parametrize("index", [0, 40, -1])
def test_a_time_far_off_is_named_and_left_out(dataset, tmp_path, caplog, index):
    """VIPL-HR's time.txt in ms since 1970, with a 0."""
    root, _ = dataset("vipl-hr")
    good = np.loadtxt(root / "data/p2/v1-2/source1/time.txt")
    ms = good + 1_500_000_000_000
    ms[index] = 0
    path = tmp_path / "time.txt"
    path.write_text("".join(f"{value:.0f}\n" for value in ms))
    times = vipl_hr.read_times(path)
    assert "1 of 160 times are far off" in caplog.text and str(path) in caplog.text
    np.testing.assert_allclose(times - times[1], (good - good[1]) / 1000, atol=0.06)


def test_times_in_another_unit_are_left_alone():
    us = np.arange(100) * 33_333.0
    np.testing.assert_array_equal(from_first_time(us, Path("t.csv")), us)


def test_mac_twins_are_no_recordings(dataset, tmp_path):
    """`._NAME` beside NAME, as a Mac leaves on a disk of another system."""
    for name in ("buaa-mihr", "ubfc-phys"):
        root, written = dataset(name)
        shutil.copytree(root, tmp_path / name)
        for path in list((tmp_path / name).rglob("*")):
            if path.is_file():
                path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7" + bytes(100))
        recordings = opened(f"{name}:{tmp_path / name}")
        assert tuple(recording.name for recording in recordings) == written.others
        (recording,) = [r for r in recordings if r.name == written.record]
        assert check_recording(recording) == []
    names = [recording.name for recording in opened(f"{tmp_path / 'ubfc-phys'}")]
    assert names == ["s2/vid_s2_T2.avi"]


@pytest.mark.parametrize("name", ["cohface", "scamps"])
def test_hdf5_is_read_without_a_lock(dataset, name):
    """As where there are no locks: another program holds the lock, which fails the same call."""
    root, written = dataset(name)
    (recording,) = [r for r in opened(f"{name}:{root}") if r.name == written.record]
    with recording.files[-1].open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert check_recording(recording) == []


RENAMED = {
    "ubfc-rppg": ("subject2", {"vid.avi": "VID.AVI", "ground_truth.txt": "Ground_Truth.txt"}),
    "pure": ("01-03", {"01-03.json": "01-03.JSON"}),
    "cohface": ("2/1", {"data.avi": "data.AVI", "data.hdf5": "data.HDF5"}),
    "ubfc-phys": ("s2", {"vid_s2_T2.avi": "vid_s2_T2.AVI", "bvp_s2_T2.csv": "BVP_s2_T2.csv"}),
    "vipl-hr": ("data/p2/v1-2/source1", {"wave.csv": "Wave.csv", "time.txt": "Time.TXT"}),
    "mmpd": ("subject3", {"p3_2.mat": "P3_2.MAT"}),
    "scamps": ("Val", {"P000012.mat": "P000012.MAT"}),
}


@pytest.mark.parametrize("name", RENAMED)
def test_names_in_another_case_are_read(dataset, tmp_path, name):
    root, written = dataset(name)
    shutil.copytree(root, tmp_path / name)
    folder, names = RENAMED[name]
    for old, new in names.items():
        (tmp_path / name / folder / old).rename(tmp_path / name / folder / new)
    recordings = opened(f"{name}:{tmp_path / name}")
    (recording,) = [r for r in recordings if r.name.lower() == written.record.lower()]
    assert check_recording(recording) == []


@pytest.mark.parametrize(
    ("name", "folder"),
    [("ubfc-rppg", "subject2"), ("pure", "01-03"), ("ubfc-phys", "s2"), ("ibvp", "p02_b")],
)
def test_a_folder_unpacked_into_one_of_its_name_is_read(dataset, tmp_path, name, folder):
    root, written = dataset(name)
    shutil.copytree(root / folder, tmp_path / folder / folder)
    (recording,) = opened(f"{name}:{tmp_path}")
    assert recording.name == written.record
    assert not any(defect.fatal for defect in check_recording(recording))


def test_folders_named_a_little_differently_are_read_or_named(dataset, tmp_path, caplog):
    root, _ = dataset("ubfc-rppg")
    for name in ("subject1", "Subject5", "subject4 (1)", "notes"):
        shutil.copytree(root / "subject2", tmp_path / name)
    assert {recording.name for recording in opened(f"ubfc-rppg:{tmp_path}")} == {
        "subject1", "Subject5"
    }  # fmt: skip
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path / 'subject4 (1)'}: passed over")


def test_a_video_in_another_container_is_read(dataset, tmp_path, write):
    root, _ = dataset("ubfc-phys")
    shutil.copytree(root / "s2", tmp_path / "s2")
    (tmp_path / "s2" / "vid_s2_T2.avi").unlink()
    write.video(tmp_path / "s2" / "vid_s2_T2.mp4", 6.4)
    (recording,) = opened(f"ubfc-phys:{tmp_path}")
    assert recording.name == "s2_T2" and check_recording(recording) == []


def test_folders_of_videos_are_searched_through_links(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for name in ("a.3gp", "b.MTS", "c.ts", "notes.txt"):
        (tmp_path / "elsewhere" / name).touch()
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "videos")  # a circle
    names = [recording.name for recording in opened(str(tmp_path / "videos"))]
    assert names == ["linked/a.3gp", "linked/b.MTS", "linked/c.ts"]
