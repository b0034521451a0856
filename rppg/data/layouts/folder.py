"""A folder of videos without ground truth. Each video counts as a subject.

ROOT/            or a single video file
    *.mp4        any name, any suffix of `VIDEO_SUFFIXES`
    any/depth/
        *.avi
"""

import os
from collections.abc import Iterator
from pathlib import Path

from rppg.data.find_files import VIDEO_SUFFIXES, is_mac_twin, natural_key
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import Recording
from rppg.video.sources.video_file import VideoFile


def recordings(root: Path) -> list[Recording]:
    """List the videos in a folder, searched recursively, or `root` alone if it is a file."""
    if not root.is_dir():
        return [_recording(root, root.name)]
    videos = [path for path in _files(root) if path.suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        suffixes = " ".join(VIDEO_SUFFIXES)
        raise InputError(f"{root}: no video in this folder; looked for files ending in {suffixes}")
    names = sorted((str(path.relative_to(root)) for path in videos), key=natural_key)
    return [_recording(root / name, name) for name in names]


def _files(root: Path) -> Iterator[Path]:
    """Yield the files in a folder and all folders in it, linked ones too, each folder once."""
    visited: set[Path] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        path = Path(folder)
        if path.resolve() in visited:  # a link to a folder above it
            subfolders.clear()
            continue
        visited.add(path.resolve())
        yield from (path / name for name in files if not is_mac_twin(path / name))


def _recording(path: Path, name: str) -> Recording:
    return video_recording(name=name, subject=name, video=VideoFile(path), files=(path,))
