"""What is wrong with a record, found before a night of training rather than after."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from rppg.captured_warnings import warnings_kept
from rppg.errors import InputError, TruncatedError
from rppg.types import HeartRate, Pulse, Recording
from rppg.video.crop import HOLE_S, LEAST_S

Kind = Literal["missing", "empty", "unreadable", "truncated", "short", "lengths", "nan", "flat",
               "clock", "rate", "damaged"]  # fmt: skip

APART_S, APART_SHARE = 0.5, 0.02
"""Video and ground truth that end further apart than both of these disagree in length."""
DRIFT = 0.01
"""Two clocks that count the same samples and differ by more than this share drift."""
STILL_S = 2.0
"""A wave that stays on one value for longer than this is flat there: the sensor was off."""
SLOWEST_HZ = 8.0
"""A wave sampled more slowly cannot hold a pulse of 200 bpm with its harmonics."""
RATES_BPM = (30.0, 240.0)
UNUSABLE_NAN = 0.5

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong with a record.

    Attributes:
        dataset, record: whose it is.
        kind: missing, empty, unreadable, truncated: the file; short, lengths: how much there is;
            nan, flat: the wave's or the picture's values; clock: times; rate: the heart rate given
            beside the wave; damaged: what the reader left out.
        message: one line, which names the file where there is one.
        fatal: whether the record can't be used for training or evaluation; else it is used as far
            as it goes.
    """

    dataset: str
    record: str
    kind: Kind
    message: str
    fatal: bool


@dataclass(frozen=True)
class _Pictures:
    """Times of the frames `(T,)`, and whether any two pictures differ."""

    times_s: Array
    moving: bool

    @property
    def end_s(self) -> float:
        """When the last frame's own time ends."""
        return _end_s(self.times_s)


Finding = tuple[Kind, str, bool]
"""Kind, message, fatal."""
Result = TypeVar("Result")


def check_recording(recording: Recording) -> list[Defect]:
    """Read a record from beginning to end and tell all that is wrong with it.

    Every frame is decoded, no face is looked for. A record without ground truth is checked for its
    pictures only. What reading warns of is a defect too.
    """
    findings = [*_about_files(recording.files)]
    gone = tuple(message.partition(": ")[0] for _, message, _ in findings)
    label = str(recording.files[-1]) if recording.files else recording.name
    pictures, told = _attempt(lambda: _look(recording))
    findings += told
    if pictures is not None:
        findings += _about_pictures(
            pictures, recording.video.name if recording.video else recording.name
        )
    if recording.load_truth is not None:
        truth, told = _attempt(recording.load_truth)
        findings += told
        if truth is not None:
            findings += _about_wave(truth, label)
            if pictures is not None:
                findings += _about_both(pictures, truth, label, recording.per_frame)
    if recording.load_rate is not None:
        rate, told = _attempt(recording.load_rate)
        findings += told
        if rate is not None:
            findings += _about_rate(rate, label)
    return [
        Defect(recording.dataset, recording.name, kind, message, fatal)
        for kind, message, fatal in dict.fromkeys(findings)
        if kind != "unreadable" or not message.startswith(gone)
    ]


def _about_files(files: Sequence[Path]) -> Iterator[Finding]:
    for path in files:
        if not path.exists():
            yield "missing", f"{path}: no such file or folder; copy the dataset again", True
        elif path.is_file() and path.stat().st_size == 0:
            yield "empty", f"{path}: the file is empty (0 bytes); copy it again", True


def _attempt(reading: Callable[[], Result]) -> tuple[Result | None, list[Finding]]:
    """What a reader gives, None where it fails; and what it warned of or failed with."""
    findings: list[Finding] = []
    result = None
    with warnings_kept() as told:
        try:
            result = reading()
        except TruncatedError as error:
            findings.append(("truncated", str(error), True))
        except InputError as error:
            findings.append(("unreadable", str(error), True))
    for entry in told:
        kind: Kind = "lengths" if getattr(entry, "kind", "") == "lengths" else "damaged"
        findings.append((kind, entry.getMessage(), False))
    return result, findings


def _look(recording: Recording) -> _Pictures:
    if recording.video is None:
        crops = recording.load_crops()
        moving = bool(np.any(crops.frames[1:] != crops.frames[:-1]))
        return _Pictures(crops.times_s, moving)
    times = []
    seen: set[bytes] = set()
    for frame in recording.video.frames():
        times.append(frame.time_s)
        if len(seen) < 2:
            seen.add(hashlib.sha256(frame.rgb[::4, ::4].tobytes()).digest())
    return _Pictures(np.array(times), len(seen) > 1)


def _about_pictures(pictures: _Pictures, where: str) -> Iterator[Finding]:
    times = pictures.times_s
    if pictures.end_s < LEAST_S - 1e-3:
        yield "short", f"{where}: {pictures.end_s:.1f} s of video; {LEAST_S:g} s are needed", True
    yield from _holes(times, f"{where}: no frames")
    if not pictures.moving:
        yield "flat", f"{where}: all {len(times)} pictures are the same; record it again", True


def _about_wave(truth: Pulse, where: str) -> Iterator[Finding]:
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
    lost = int(np.sum(~np.isfinite(times)))
    if lost:
        yield "clock", f"{where}: {lost} of {count} times are not numbers; they are left out", False
    keep = np.isfinite(truth.bvp) & np.isfinite(times)
    times, bvp = times[keep], truth.bvp[keep]
    if len(times) < 2:
        return
    back = int(np.sum(np.diff(times) <= 0))
    if back:
        at = int(np.argmax(np.diff(times) <= 0))
        yield (
            "clock",
            f"{where}: the clock stands still or runs backwards {back} times, first after "
            f"{times[at]:.3f} s; those values are left out",
            False,
        )
        onward = np.concatenate([[True], times[1:] > np.maximum.accumulate(times)[:-1]])
        times, bvp = times[onward], bvp[onward]
        if len(times) < 2:
            return
    step_s = float(np.median(np.diff(times)))
    if step_s * SLOWEST_HZ > 1:
        yield "clock", f"{where}: a value every {step_s:.3g} s; are the times in seconds?", True
    else:
        yield from _holes(times, f"{where}: no values")
    if np.ptp(bvp) == 0:
        yield "flat", f"{where}: the wave is flat, all of its values are {bvp[0]:g}", True
        return
    start, length = _longest_still(times, bvp)
    if length > STILL_S:
        yield (
            "flat",
            f"{where}: the wave is flat for {length:.1f} s from {start:.1f} s on; was the sensor "
            "off?",
            False,
        )


def _about_both(
    pictures: _Pictures, truth: Pulse, where: str, per_frame: bool
) -> Iterator[Finding]:
    finite = truth.times_s[np.isfinite(truth.times_s)]
    if len(finite) < 2:
        yield "short", f"{where}: {len(finite)} usable values; copy the file again", True
        return
    frames, values = len(pictures.times_s), len(truth.times_s)
    video_s, truth_s = pictures.end_s, _end_s(np.sort(finite))
    shared = min(video_s, truth_s) - max(0.0, float(finite.min()))
    lengths = f"the video has {video_s:.2f} s ({frames} frames), the ground truth {truth_s:.2f} s"
    apart = max(abs(video_s - truth_s), float(finite.min()))
    drift = abs(video_s - truth_s) / max(video_s, truth_s)
    if shared < LEAST_S - 1e-3:
        yield (
            "short",
            f"{where}: {lengths}; they share {max(shared, 0.0):.1f} s, {LEAST_S:g} s are needed",
            True,
        )
    elif per_frame and frames == values:
        if drift > DRIFT:
            yield (
                "clock",
                f"{where}: {lengths}, with one value a frame: the clocks drift by {drift:.1%}",
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


def _about_rate(rate: HeartRate, where: str) -> Iterator[Finding]:
    finite = np.isfinite(rate.bpm)
    low, high = RATES_BPM
    odd = int(np.sum((rate.bpm[finite] < low) | (rate.bpm[finite] > high)) + np.sum(~finite))
    if odd:
        yield (
            "rate",
            f"{where}: {odd} of {len(rate.bpm)} heart rates are missing or outside of {low:g} to "
            f"{high:g} bpm; only the wave is used",
            False,
        )


def _holes(times: Array, what: str) -> Iterator[Finding]:
    steps = np.diff(times)
    holes = np.flatnonzero(steps > HOLE_S)
    if len(holes):
        at = int(holes[0])
        more = f" and {len(holes) - 1} more holes" if len(holes) > 1 else ""
        yield (
            "clock",
            f"{what} from {times[at]:.2f} s to {times[at + 1]:.2f} s{more}; left out",
            False,
        )


def _longest_still(times: Array, bvp: Array) -> tuple[float, float]:
    """Start and length, in seconds, of the longest stretch of one value."""
    edges = np.flatnonzero(np.concatenate([[True], np.diff(bvp) != 0]))
    ends = np.append(edges[1:], len(bvp)) - 1
    longest = int(np.argmax(times[ends] - times[edges]))
    return float(times[edges[longest]]), float(times[ends[longest]] - times[edges[longest]])


def _end_s(times: Array) -> float:
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return float(times[-1]) + step
