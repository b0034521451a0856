"""A CSV manifest: any videos with any ground truth, one a row.

Columns `video`, `ground_truth`, `subject`, and `format` if wanted; every other column is metadata.
Paths are relative to the manifest and stay in its folder, so that the folder can be moved and
shared as it is; data elsewhere is linked into it. Ground truth may be left empty; it is a CSV file
with columns `time_s`, `bvp` and, where known, `hr_bpm`, or of the `format` named. A video is a
file, or a folder of pictures whose names end in nanoseconds.
"""

import unicodedata
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from rppg.data.layouts import (
    bp4d,
    buaa_mihr,
    cohface,
    ibvp,
    mmpd,
    pure,
    scamps,
    ubfc_phys,
    ubfc_rppg,
    vipl_hr,
)
from rppg.data.reading import column, read_table
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import HeartRate, Pulse, Recording, Video
from rppg.video.sources.image_sequence import Pictures, nanosecond_clock
from rppg.video.sources.source import VideoFile

REQUIRED = ("video", "ground_truth", "subject")
OWN = "csv"
MOST_LETTERS = 400
"""Of a value: it stands in messages, tables and reports."""


def read_truth(path: Path) -> Pulse:
    """BVP and times of a CSV file with columns `time_s` and `bvp`."""
    table = read_table(path)
    return Pulse(column(table, "time_s", path), column(table, "bvp", path))


def read_rate(path: Path) -> HeartRate:
    """Heart rate and times of a CSV file with columns `time_s` and `hr_bpm`."""
    table = read_table(path)
    return HeartRate(column(table, "time_s", path), column(table, "hr_bpm", path))


FORMATS: Mapping[str, Callable[[Path], Pulse]] = {
    OWN: read_truth,
    "bp4d": bp4d.read_truth,
    "buaa-mihr": buaa_mihr.read_truth,
    "cohface": cohface.read_truth,
    "ibvp": ibvp.read_truth,
    "mmpd": mmpd.read_truth,
    "pure": pure.read_truth,
    "scamps": scamps.read_truth,
    "ubfc-phys": ubfc_phys.read_truth,
    "ubfc-rppg": ubfc_rppg.read_truth,
    "vipl-hr": vipl_hr.read_truth,
}


def recordings(path: Path) -> list[Recording]:
    """Recordings of a manifest, in the order of its rows.

    Raises:
        InputError: a file that can't be read, a column missing, a row that can't be used.
    """
    table = read_table(path)
    missing = [name for name in REQUIRED if name not in table]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; a manifest has {','.join(REQUIRED)}, and "
            f"format if wanted; found {','.join(table)}"
        )
    count = len(table["video"])
    rows = [{name: words[k].strip() for name, words in table.items()} for k in range(count)]
    found = [_recording(path, number, row) for number, row in enumerate(rows, start=2)]
    seen: set[str] = set()
    for recording in found:
        if recording.name in seen:
            raise InputError(
                f"{path}: the video {recording.name} stands in two rows; leave one out"
            )
        seen.add(recording.name)
    return found


def _recording(manifest: Path, number: int, row: dict[str, str]) -> Recording:
    where = f"{manifest}, row {number}"
    for name, text in row.items():
        if any(map(_commands, text + name)):
            raise InputError(
                f"{where}: {name[:40]!a} {text[:80]!a} holds what can't be printed; rename it"
            )
        if len(text) > MOST_LETTERS:
            raise InputError(
                f"{where}: {name[:40]} is {len(text)} letters long; expected {MOST_LETTERS} at most"
            )
    path = _inside(manifest, row["video"], where, "video")
    video: Video = VideoFile(path)
    if path.is_dir():
        video = Pictures(path, nanosecond_clock)
    if not row["subject"]:
        raise InputError(f"{where}: no subject; name who is seen, so that splits keep them apart")
    form = row.get("format") or OWN
    if form not in FORMATS:
        raise InputError(f"{where}: no format {form!r}; choose one of {', '.join(FORMATS)}")
    truth, rate = None, None
    files: tuple[Path, ...] = (path,)
    if row["ground_truth"]:
        label = _inside(manifest, row["ground_truth"], where, "ground_truth")
        truth = partial(FORMATS[form], label)
        if form == OWN and _has_rate(label):
            rate = partial(read_rate, label)
        files = (path, label)
    return video_recording(
        name=row["video"],
        subject=row["subject"],
        video=video,
        truth=truth,
        rate=rate,
        metadata={
            key: value for key, value in row.items() if key not in (*REQUIRED, "format") and value
        },
        files=files,
    )


def _commands(letter: str) -> bool:
    """Whether a letter would command a terminal: break its line, move, colour, turn the order."""
    turns = unicodedata.bidirectional(letter) in {"LRE", "RLE", "LRO", "RLO", "LRI", "RLI", "FSI"}
    return turns or unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"}


def _inside(manifest: Path, text: str, where: str, name: str) -> Path:
    if not text:
        raise InputError(f"{where}: the column {name} is empty; give a path")
    given = PurePosixPath(text.replace("\\", "/"))
    if given.is_absolute() or Path(text).is_absolute() or ".." in given.parts or ":" in text[:2]:
        raise InputError(
            f"{where}: {name} {text} leads out of the manifest's folder; give a path in it, and "
            "link data that lies elsewhere into it"
        )
    return manifest.parent / given


def _has_rate(path: Path) -> bool:
    """Whether the header names a heart rate; a file that can't be read is told of when it is."""
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            header = file.readline(4096)
    except OSError:
        return False
    return "hr_bpm" in [name.strip().lower() for name in header.split(",")]
