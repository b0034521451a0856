"""A CSV manifest: any videos with any ground truth, one recording per row.

    ROOT/
        study.csv          the manifest: video,ground_truth,subject[,...]
        anna.mp4           a video file
        ben/               or a folder of images whose names end in nanoseconds
            Image1392643993642815000.png
        anna.csv           ground truth: time_s,bvp[,hr_bpm], or time_s,hr_bpm
        any/depth/

Columns: `video`, `ground_truth`, `subject`, and optionally

    format         the dataset in whose format the ground truth is
    fps            frame rate in Hz, for a file that has a wrong one or none, and for images whose
                   names are numbers in place of nanoseconds
    frame_times    a file with the time of each frame in seconds, on the ground truth's clock: one
                   per line, or the column time_s of a CSV file
    start_s        time of the first frame on the ground truth's clock in seconds; 0 by default

All other columns are metadata. Semicolons may separate them all in place of commas, and the case of
these names doesn't matter. Any value but `video` and `subject` may be empty.

Paths are relative to the manifest and must stay in its folder, so that the folder can be moved and
shared. Link data from elsewhere into it.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from rppg.data.image_folder import ImageFolder
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
from rppg.data.layouts.manifest_times import RowTimes, parse_number
from rppg.data.rate_truth import wave_of_rates
from rppg.data.reading import column, read_table, split_header
from rppg.data.recording import video_recording
from rppg.errors import InputError
from rppg.types import HeartRate, Pulse, Recording

REQUIRED = ("video", "ground_truth", "subject")
OPTIONAL = ("format", "fps", "frame_times", "start_s")
OWN_FORMAT = "csv"
MAX_LETTERS = 400
"""The longest value. Values appear in messages, tables and reports."""
TEXT_DIRECTION = frozenset({"LRE", "RLE", "LRO", "RLO", "LRI", "RLI", "FSI"})
"""Classes of letters that change the direction of the text after them."""


def read_truth(path: Path) -> Pulse:
    """Read BVP and times from a CSV file with columns `time_s` and `bvp`.

    Without `bvp`, but with `hr_bpm`, a sine with these heart rates.
    """
    table = read_table(path)
    if _has_rates_only(list(table)):
        return wave_of_rates(read_rate(path), path)
    return Pulse(column(table, "time_s", path), column(table, "bvp", path))


def read_rate(path: Path) -> HeartRate:
    """Read heart rate and times from a CSV file with columns `time_s` and `hr_bpm`."""
    table = read_table(path)
    return HeartRate(column(table, "time_s", path), column(table, "hr_bpm", path))


FORMATS: Mapping[str, Callable[[Path], Pulse]] = {
    OWN_FORMAT: read_truth,
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
    """List the recordings of a manifest, in the order of its rows.

    Raises:
        InputError: an unreadable file, a missing column, or an invalid row.
    """
    table = _with_known_names(read_table(path), path)
    missing = [name for name in REQUIRED if name not in table]
    if missing:
        raise InputError(
            f"{path}: no column {', '.join(missing)}; a manifest has {','.join(REQUIRED)} and "
            f"optionally {','.join(OPTIONAL)}; found {','.join(table)}"
        )
    count = len(table["video"])
    rows = [{name: words[k].strip() for name, words in table.items()} for k in range(count)]
    listed = [_recording(path, number, row) for number, row in enumerate(rows, start=2)]
    seen: set[str] = set()
    for recording in listed:
        if recording.name in seen:
            raise InputError(f"{path}: the video {recording.name} is in two rows; remove one")
        seen.add(recording.name)
    return listed


def _with_known_names(table: dict[str, list[str]], path: Path) -> dict[str, list[str]]:
    """Return the table with the names of known columns in small letters."""
    known = {}
    for name in (*REQUIRED, *OPTIONAL):
        found = [header for header in table if header.lower() == name]
        if len(found) > 1 and name not in found:
            raise InputError(f"{path}: a column appears twice in the header: {', '.join(found)}")
        if name not in found:
            known.update(dict.fromkeys(found, name))
    return {known.get(header, header): words for header, words in table.items()}


def _recording(manifest: Path, number: int, row: dict[str, str]) -> Recording:
    where = f"{manifest}, row {number}"
    for name, text in row.items():
        if any(map(_controls_terminal, text + name)):
            raise InputError(
                f"{where}: {name[:40]!a} {text[:80]!a} holds letters that can't be printed; "
                "rename it"
            )
        if len(text) > MAX_LETTERS:
            raise InputError(
                f"{where}: {name[:40]} is {len(text)} letters long; expected {MAX_LETTERS} at most"
            )
    path = _inside(manifest, row["video"], where, "video")
    clock = row.get("frame_times")
    times = RowTimes(
        fps=parse_number(row, "fps", where),
        start_s=parse_number(row, "start_s", where),
        clock=_inside(manifest, clock, where, "frame_times") if clock else None,
    )
    times.check(where, path)
    video = times.video(path)
    if not row["subject"]:
        raise InputError(
            f"{where}: no subject; name the person, so that splits can separate people"
        )
    file_format = row.get("format") or OWN_FORMAT
    if file_format not in FORMATS:
        raise InputError(f"{where}: no format {file_format!r}; choose one of {', '.join(FORMATS)}")
    truth: Callable[[], Pulse] | None = None
    rate: Callable[[], HeartRate] | None = None
    rate_only = per_frame = False
    files: tuple[Path, ...] = (path,)
    if row["ground_truth"]:
        truth_path = _inside(manifest, row["ground_truth"], where, "ground_truth")
        truth = partial(FORMATS[file_format], truth_path)
        if file_format == "pure" and isinstance(video, ImageFolder):
            truth = partial(pure.read_truth, truth_path, video)  # their clock is shared
        names = _header(truth_path) if file_format == OWN_FORMAT else []
        rate_only = _has_rates_only(names)
        if "hr_bpm" in names:
            rate = partial(read_rate, truth_path)
        truth = partial(times.on_video_clock, truth)
        rate = rate and partial(times.rate_on_video_clock, rate)
        files = (path, truth_path)
        if file_format == "ubfc-rppg" and times == RowTimes():
            per_frame = ubfc_rppg.has_value_per_frame(truth_path)
    if times.clock is not None:
        files = (path, times.clock, *files[1:])
    return video_recording(
        name=row["video"],
        subject=row["subject"],
        video=video,
        truth=truth,
        rate=rate,
        metadata={
            key: value for key, value in row.items() if key not in (*REQUIRED, *OPTIONAL) and value
        },
        files=files,
        per_frame=per_frame,
        rate_only=rate_only,
    )


def _controls_terminal(letter: str) -> bool:
    """Return whether a letter controls a terminal: lines, cursor, colours or text direction."""
    turns = unicodedata.bidirectional(letter) in TEXT_DIRECTION
    return turns or unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"}


def _inside(manifest: Path, text: str, where: str, name: str) -> Path:
    if not text:
        raise InputError(f"{where}: the column {name} is empty; give a path")
    relative = PurePosixPath(text.replace("\\", "/"))
    absolute = relative.is_absolute() or Path(text).is_absolute() or ":" in text[:2]
    if absolute or ".." in relative.parts:
        raise InputError(
            f"{where}: {name} {text} leads out of the manifest's folder; give a path in it, and "
            "link data from elsewhere into it"
        )
    return manifest.parent / relative


def _has_rates_only(header: Sequence[str]) -> bool:
    names = [name.lower() for name in header]
    return "hr_bpm" in names and "bvp" not in names


def _header(path: Path) -> list[str]:
    """Return the names of the columns, in small letters; none if the file can't be read.

    Reading the ground truth raises the reason later.
    """
    if not path.is_file():  # reading a pipe would block
        return []
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            header = file.readline(4096)
    except OSError:
        return []
    names, _ = split_header(header.lower())
    return names
