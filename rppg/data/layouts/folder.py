"""A folder of videos without ground truth. Each video counts as a subject.

ROOT/            or a single video file
    *.mp4        any name, any suffix of `VIDEO_SUFFIXES`
    any/depth/
        *.avi
"""

from pathlib import Path

from rppg.data.reading import is_mac_twin, natural_key
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import Recording
from rppg.video.sources.video_file import VideoFile

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"}
)


def recordings(root: Path) -> list[Recording]:
    """List the videos in a folder, searched recursively, or `root` alone if it is a file."""
    if not root.is_dir():
        return [_recording(root, root.name)]
    videos = [
        path
        for path in root.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES and not is_mac_twin(path)
    ]
    if not videos:
        suffixes = " ".join(sorted(VIDEO_SUFFIXES))
        raise InputError(f"{root}: no video in this folder; looked for files ending in {suffixes}")
    names = sorted((str(path.relative_to(root)) for path in videos), key=natural_key)
    return [_recording(root / name, name) for name in names]


def _recording(path: Path, name: str) -> Recording:
    return video_recording(name=name, subject=name, video=VideoFile(path), files=(path,))
