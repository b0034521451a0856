"""BUAA-MIHR, 30 frames a second.

    ROOT/
        Sub 01/
            Lux 1.0/                     illumination in lux
                lux1.0_APH.avi           illumination and initials; any `*.avi` if none is named so
                lux1.0_LXR.avi
                lux1.0_PPGData.mat       structure PPG with the field data, BVP at 60 Hz
            Lux 1.6/
        Sub 02/

Some folders have videos with several initials, but one ground truth. Whose it is isn't documented.
It is taken for that of the first video by name, as public readers do, and the others are passed
over with a warning. A ground truth that has a video's name, such as `lux1.0_LXR_PPGData.mat`, is
that video's.

Xi, Chen, Zhao, Li and Han, Image enhancement for remote photoplethysmography in a low-light
environment, FG 2020.
"""

import re
from functools import partial
from pathlib import Path

from rppg.data.find_files import list_files, list_folders
from rppg.data.reading import find_variable, log, read_mat, regular_times
from rppg.data.recording import video_recording
from rppg.types import Pulse, Recording
from rppg.video.sources.video_file import VideoFile

RATE_HZ = 60.0


def recordings(root: Path) -> list[Recording]:
    """List the recordings in the folder that contains `Sub 01` and so on."""
    return [
        recording
        for subject, _ in list_folders(root, r"sub ?\d+")
        for folder, lux in list_folders(subject, r"lux ?([\d.]+)")
        for recording in _recordings(folder, subject.name, lux[1])
    ]


def _recordings(folder: Path, subject: str, lux: str) -> list[Recording]:
    name = f"{subject}/{folder.name}"
    videos = [path for path, _ in list_files(folder, r".*\.avi")]
    of_dataset = [path for path in videos if _is_named_by(path, lux)] or videos
    truths = [path for path, _ in list_files(folder, r".*PPGData\.mat")]
    truth_of = {video: truth for video in of_dataset for truth in truths if _is_own(truth, video)}
    without = [video for video in of_dataset if video not in truth_of]
    shared = [truth for truth in truths if truth not in truth_of.values()]
    if without and shared:
        truth_of[without[0]] = shared[0]
    if not truth_of:
        missing_video, missing_truth = folder / "*.avi", folder / "*PPGData.mat"
        truth_of = {next(iter(of_dataset), missing_video): next(iter(truths), missing_truth)}
    pairs = sorted(truth_of.items())
    others = [path.name for path in videos if path not in truth_of]
    if others:
        log.warning(
            "%s: %s read, %s passed over; name a ground truth after each video to read it, such "
            "as %s_PPGData.mat",
            folder, ", ".join(path.name for path, _ in pairs), ", ".join(others),
            Path(others[0]).stem,
        )  # fmt: skip
    return [
        _recording(name if len(pairs) == 1 else f"{name}/{video.stem}", subject, lux, video, truth)
        for video, truth in pairs
    ]


def _is_named_by(video: Path, lux: str) -> bool:
    return re.match(rf"lux ?{re.escape(lux)}(?![\d.])", video.stem, re.IGNORECASE) is not None


def _is_own(truth: Path, video: Path) -> bool:
    """Return whether a ground truth has a video's name."""
    pattern = rf"{re.escape(video.stem)}[ _-]?PPGData"
    return re.fullmatch(pattern, truth.stem, re.IGNORECASE) is not None


def _recording(name: str, subject: str, lux: str, video: Path, truth: Path) -> Recording:
    return video_recording(
        name=name,
        subject=subject,
        video=VideoFile(video),
        truth=partial(read_truth, truth),
        metadata={"light": f"{lux} lux"},
        files=(video, truth),
    )


def read_truth(path: Path) -> Pulse:
    """Read the BVP from a `*PPGData.mat`."""
    bvp = find_variable(read_mat(path, ["PPG"]), ["PPG"], path)
    return Pulse(regular_times(len(bvp), RATE_HZ), bvp)
