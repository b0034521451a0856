"""The constructor of recordings with a video, shared by all layouts."""

from collections.abc import Callable, Mapping
from pathlib import Path

from rppg.types import HeartRate, Pulse, Recording, Video
from rppg.video.crop import FaceRegion, VideoCrops


def video_recording(
    *,
    name: str,
    subject: str,
    video: Video,
    truth: Callable[[], Pulse] | None = None,
    rate: Callable[[], HeartRate] | None = None,
    metadata: Mapping[str, str] | None = None,
    files: tuple[Path, ...] = (),
    per_frame: bool = False,
    rate_only: bool = False,
    rate_file: Path | None = None,
    face: FaceRegion | None = None,
) -> Recording:
    """Return a recording whose crops are cut from `video` when they are loaded.

    Args:
        face: where the face is, if the layout defines it; None to detect it.
        truth, rate, metadata, files, per_frame, rate_only, rate_file: see `Recording`.
    """
    return Recording(
        name=name,
        dataset="",  # named when it is opened by a SPEC
        subject=subject,
        load_crops=VideoCrops(video, face or FaceRegion()),
        load_truth=truth,
        load_rate=rate,
        metadata=metadata or {},
        video=video,
        files=files,
        per_frame=per_frame,
        rate_only=rate_only,
        rate_file=rate_file,
    )
