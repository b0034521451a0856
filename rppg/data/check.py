"""Checks of a recording, which find its defects before a long training rather than after."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from rppg.captured_warnings import capture_warnings
from rppg.data.frame_clock import DRIFT, clock_drift, end_s
from rppg.data.reading import RATES_BPM
from rppg.data.wave_fault import find_wave_fault, usable_samples
from rppg.errors import InputError, TruncatedError
from rppg.types import HeartRate, Pulse, Recording
from rppg.video.crop import LEAST_S
from rppg.video.crop_stream import HOLE_S

Kind = Literal["missing", "empty", "unreadable", "truncated", "short", "lengths", "nan", "flat",
               "wave", "clock", "rate", "damaged", "pulse"]  # fmt: skip

APART_S, APART_SHARE = 0.5, 0.02
"""The lengths of video and ground truth disagree if they differ by more than both of these."""
STILL_S = 2.0
"""A wave that keeps one value for longer than this is flat there: the sensor was off."""
UNUSABLE_NAN = 0.5

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Defect:
    """A defect of a recording.

    Attributes:
        dataset, record: the dataset's and the recording's name.
        kind: missing, empty, unreadable, truncated: the file; short, lengths: durations; nan,
            flat: the values of the wave or the frames; wave: a ground truth that is no pulse;
            clock: times; rate: the heart rate that the dataset provides; damaged: parts that the
            reader left out; pulse: none is found in the video, see `rppg check --pulse`.
        message: one line, which names the file if there is one.
        fatal: True if the recording can't be used for training or evaluation. Otherwise the intact
            part of it is used.
    """

    dataset: str
    record: str
    kind: Kind
    message: str
    fatal: bool


@dataclass(frozen=True)
class _Frames:
    """The times of a video's frames `(T,)`, and whether any two frames differ."""

    times_s: Array
    differ: bool

    @property
    def end_s(self) -> float:
        """End of the last frame's display time."""
        return end_s(self.times_s)


Finding = tuple[Kind, str, bool]
"""Kind, message, fatal."""
Result = TypeVar("Result")


def check_recording(recording: Recording) -> list[Defect]:
    """Read a recording from beginning to end and list its defects.

    All frames are decoded, but no face is detected. If there is no ground truth, only the frames
    are checked. Warnings logged while reading count as defects.
    """
    findings = [*_check_files(recording.files)]
    unusable_files = tuple(message.partition(": ")[0] for _, message, _ in findings)
    truth_name = str(recording.files[-1]) if recording.files else recording.name
    frames, problems = _attempt(lambda: _read_frames(recording))
    findings += problems
    if frames is not None:
        findings += _check_frames(
            frames, recording.video.name if recording.video else recording.name
        )
    if recording.load_truth is not None:
        truth, problems = _attempt(recording.load_truth)
        findings += problems
        if truth is not None:
            findings += _check_wave(truth, truth_name)
            if frames is not None:
                findings += _check_alignment(frames, truth, truth_name, recording.per_frame)
    if recording.load_rate is not None:
        rate, problems = _attempt(recording.load_rate)
        findings += problems
        if rate is not None:
            use = "they are left out" if recording.rate_only else "only the wave is used"
            findings += _check_rate(rate, str(recording.rate_file or truth_name), use)
    return [
        Defect(recording.dataset, recording.name, kind, message, fatal)
        for kind, message, fatal in dict.fromkeys(findings)
        if kind != "unreadable" or not message.startswith(unusable_files)
    ]


def _check_files(files: Sequence[Path]) -> Iterator[Finding]:
    for path in files:
        if not path.exists():
            yield "missing", f"{path}: no such file or folder; copy the dataset again", True
        elif path.is_file() and path.stat().st_size == 0:
            yield "empty", f"{path}: the file is empty (0 bytes); copy it again", True


def _attempt(read: Callable[[], Result]) -> tuple[Result | None, list[Finding]]:
    """Return a reader's result, None if it fails, and its warnings and error as findings."""
    findings: list[Finding] = []
    result = None
    with capture_warnings() as logged:
        try:
            result = read()
        except TruncatedError as error:
            findings.append(("truncated", str(error), True))
        except InputError as error:
            findings.append(("unreadable", str(error), True))
    for entry in logged:
        kind: Kind = "lengths" if getattr(entry, "kind", "") == "lengths" else "damaged"
        findings.append((kind, entry.getMessage(), False))
    return result, findings


def _read_frames(recording: Recording) -> _Frames:
    if recording.video is None:
        crops = recording.load_crops()
        differ = bool(np.any(crops.frames[1:] != crops.frames[:-1]))
        return _Frames(crops.times_s, differ)
    times = []
    digests: set[bytes] = set()
    for frame in recording.video.frames():
        times.append(frame.time_s)
        if len(digests) < 2:
            digests.add(hashlib.sha256(frame.rgb[::4, ::4].tobytes()).digest())
    return _Frames(np.array(times), len(digests) > 1)


def _check_frames(frames: _Frames, where: str) -> Iterator[Finding]:
    times = frames.times_s
    if frames.end_s < LEAST_S - 1e-3:
        yield "short", f"{where}: {frames.end_s:.1f} s of video; {LEAST_S:g} s are needed", True
    yield from _check_holes(times, f"{where}: no frames")
    if not frames.differ:
        yield "flat", f"{where}: all {len(times)} frames are the same; record it again", True


def _check_wave(truth: Pulse, where: str) -> Iterator[Finding]:
    count = len(truth.bvp)
    bad = int(np.sum(~np.isfinite(truth.bvp)))
    if bad:
        yield (
            "nan",
            f"{where}: {bad} of {count} values of the wave are missing (not a number, or marked as "
            "bad); they are left out",
            bad > UNUSABLE_NAN * count,
        )
    times = truth.times_s
    not_finite = int(np.sum(~np.isfinite(times)))
    if not_finite:
        yield (
            "clock",
            f"{where}: {not_finite} of {count} times are not numbers; they are left out",
            False,
        )
    keep = np.isfinite(truth.bvp) & np.isfinite(times)
    times, bvp = times[keep], truth.bvp[keep]
    if len(times) < 2:
        return
    backward = int(np.sum(np.diff(times) <= 0))
    if backward:
        first = int(np.argmax(np.diff(times) <= 0))
        yield (
            "clock",
            f"{where}: the clock stands still or runs backwards {backward} times, first after "
            f"{times[first]:.3f} s; those values are left out",
            False,
        )
        usable = usable_samples(truth)
        times, bvp = usable.times_s, usable.bvp
        if len(times) < 2:
            return
    fault = find_wave_fault(truth)
    if fault is None or fault.kind != "clock":
        yield from _check_holes(times, f"{where}: no values")
    if fault is not None:
        yield fault.kind, f"{where}: {fault.message}", True
        return
    start, length = _longest_constant(times, bvp)
    if length > STILL_S:
        yield (
            "flat",
            f"{where}: the wave is flat for {length:.1f} s from {start:.1f} s on; was the sensor "
            "off?",
            False,
        )


def _check_alignment(
    video: _Frames, truth: Pulse, where: str, per_frame: bool
) -> Iterator[Finding]:
    finite = truth.times_s[np.isfinite(truth.times_s)]
    if len(finite) < 2:
        yield "short", f"{where}: {len(finite)} usable values; copy the file again", True
        return
    frames, values = len(video.times_s), len(truth.times_s)
    video_s, truth_s = video.end_s, end_s(np.sort(finite))
    shared = min(video_s, truth_s) - max(0.0, float(finite.min()))
    begin_s = float(finite.min())
    lengths = f"the video has {video_s:.2f} s ({frames} frames), the ground truth {truth_s:.2f} s"
    if begin_s < -APART_S:
        lengths += f" and begins {-begin_s:.2f} s before the first frame"
    apart = max(abs(video_s - truth_s), abs(begin_s))
    if shared < LEAST_S - 1e-3:
        yield (
            "short",
            f"{where}: {lengths}; they share {max(shared, 0.0):.1f} s, {LEAST_S:g} s are needed",
            True,
        )
    elif per_frame and frames == values:
        drift = clock_drift(video.times_s, np.sort(finite))
        if drift > DRIFT:
            use = "an evaluation uses the times of the ground truth"
            if not np.all(np.diff(truth.times_s) > 0):
                use = "those of the ground truth don't increase, so each keeps its own"
            yield (
                "clock",
                f"{where}: {lengths}, with one value a frame: the clocks drift by {drift:.1%}; "
                f"{use}",
                False,
            )
    elif per_frame:
        yield (
            "lengths",
            f"{where}: {values} values for {frames} frames; aligned by times, used as far as both "
            "go",
            False,
        )
    elif apart > max(APART_S, APART_SHARE * max(video_s, truth_s)):
        yield "lengths", f"{where}: {lengths}; used as far as both go", False


def _check_rate(rate: HeartRate, where: str, use: str) -> Iterator[Finding]:
    finite = np.isfinite(rate.bpm)
    low, high = RATES_BPM
    unusual = int(np.sum((rate.bpm[finite] < low) | (rate.bpm[finite] > high)) + np.sum(~finite))
    if unusual:
        yield (
            "rate",
            f"{where}: {unusual} of {len(rate.bpm)} heart rates are missing or outside "
            f"{low:g} to {high:g} bpm; {use}",
            False,
        )


def _check_holes(times: Array, what: str) -> Iterator[Finding]:
    steps = np.diff(times)
    holes = np.flatnonzero(steps > HOLE_S)
    if len(holes):
        first = int(holes[0])
        more = f" and {len(holes) - 1} more holes" if len(holes) > 1 else ""
        yield (
            "clock",
            f"{what} from {times[first]:.2f} s to {times[first + 1]:.2f} s{more}; left out",
            False,
        )


def _longest_constant(times: Array, bvp: Array) -> tuple[float, float]:
    """Return start and length in seconds of the longest stretch with one value."""
    edges = np.flatnonzero(np.concatenate([[True], np.diff(bvp) != 0]))
    ends = np.append(edges[1:], len(bvp)) - 1
    longest = int(np.argmax(times[ends] - times[edges]))
    return float(times[edges[longest]]), float(times[ends[longest]] - times[edges[longest]])
