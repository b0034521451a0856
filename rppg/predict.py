"""Heart rate from a video or from frames: `predict(path)`, `predict(frames, timestamps)`."""

import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.errors import InputError
from rppg.estimators.fcus import FcusEstimator, trained
from rppg.estimators.physnet import PeerEstimator
from rppg.estimators.streaming import estimate
from rppg.evaluation import Estimator, Protocol, classical, measure
from rppg.methods import METHODS
from rppg.signals import (
    RELIABLE,
    RateSeries,
    Variability,
    find_beats,
    local_rate_hz,
    rate_series,
    refine,
    resample,
    variability,
)
from rppg.types import FaceCrops
from rppg.video.crop import HOLE_S, crop_pieces
from rppg.video.sources.in_memory import InMemoryVideo, in_memory_video

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

CROP_SIZE = 54
BEAT_QUALITY = 0.8
"""Beats are looked for in windows of at least this quality: variability asks more than a rate."""
LEAST_CLIP_S, MOST_CLIP_S = 0.5, 3600.0
"""What a network's clips may last."""
READ_S = 5.0
"""Crops are taken from the video in pieces of this length."""


@dataclass(frozen=True)
class Prediction:
    """What was measured on one recording.

    Attributes:
        hr_bpm: heart rate of the whole recording; NaN where there is none.
        quality: quality index of the whole recording, 0..1: the chance that its heart rate is
            within 5 bpm; under 0.5 don't trust it.
        times_s: `(T,)` clock of the BVP, seconds from the first frame.
        bvp: `(T,)` BVP, up at systole, unit deviation; refined where the pulse is reliable
            (`rppg.signals.refine`).
        measured: `(T,)` the filtered BVP before it was refined, from which all else is read.
        course: heart rate and quality in sliding windows.
        face_share: share of the frames in which the face was seen.
        seconds: wall-clock time by stage.
        frames: frames read.
        beats_s: `(N,)` times of the systolic peaks where the pulse is reliable.
        hrv: heart rate variability, or None.
        hrv_missing: why there is none, or None.
    """

    hr_bpm: float
    quality: float
    times_s: Array
    bvp: Array
    measured: Array
    course: RateSeries
    face_share: float
    seconds: dict[str, float]
    frames: int
    beats_s: Array = field(default_factory=lambda: np.zeros(0))
    hrv: Variability | None = None
    hrv_missing: str | None = None

    @property
    def reliable(self) -> bool:
        """Whether the quality index is high enough to trust the heart rate."""
        return bool(self.quality >= RELIABLE)

    def to_json(self, *, bvp: bool = True) -> dict[str, Any]:
        """As JSON values; NaN becomes null. Without `bvp` the wave and the beats are left out."""
        windows = [
            {
                "start_s": round(float(start), 3),
                "end_s": round(float(end), 3),
                "hr_bpm": _number(hr, 2),
                "quality": _number(index, 3),
            }
            for start, end, hr, index in zip(
                self.course.start_s,
                self.course.end_s,
                self.course.hr_bpm,
                self.course.quality,
                strict=True,
            )
        ]
        per_frame = {stage: 1000 * s / self.frames for stage, s in self.seconds.items()}
        told: dict[str, Any] = {
            "hr_bpm": _number(self.hr_bpm, 2),
            "quality": _number(self.quality, 3),
            "reliable": self.reliable,
            "face_share": _number(self.face_share, 3),
            "duration_s": _number(self.times_s[-1], 3),
            "frames": self.frames,
            "windows": windows,
            "hrv": _rounded(self.hrv) if self.hrv else None,
            "hrv_missing": self.hrv_missing,
            "seconds": {stage: round(s, 3) for stage, s in self.seconds.items()},
            "ms_per_frame": {stage: round(ms, 3) for stage, ms in per_frame.items()},
        }
        if bvp:
            told["bvp"] = {
                "time_s": [round(float(t), 4) for t in self.times_s],
                "value": [_number(v, 4) for v in self.bvp],
            }
            told["beats_s"] = [round(float(t), 4) for t in self.beats_s]
        return told


def find_estimator(
    method: str = "fcus", checkpoint: Path | None = None, *, skin: bool = False
) -> Estimator:
    """The estimator called `method`: `fcus`, or a classical method of `rppg.methods.METHODS`.

    Args:
        checkpoint: of fcus; the shipped one if None.
        skin: classical methods see those pixels of the face that are skin.
    """
    if skin and method == "fcus":
        raise InputError("fcus finds the skin itself; leave the skin mask out")
    if method == "fcus":
        return _usable(trained(checkpoint), checkpoint)
    if checkpoint is not None:
        raise InputError(f"method {method!r} takes no checkpoint; leave it out or choose fcus")
    if method not in METHODS:
        raise InputError(f"no method {method!r}; choose one of fcus, {', '.join(METHODS)}")
    return classical(method, skin=skin)


def predict(
    video: str | Path | NDArray[np.uint8],
    timestamps: ArrayLike | None = None,
    *,
    estimator: Estimator | None = None,
    box: tuple[float, float, float, float] | None = None,
    full_frame: bool = False,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Prediction:
    """Measure the pulse in a video.

    Args:
        video: the path of a video file, or frames `(T, H, W, 3)` uint8 RGB.
        timestamps: `(T,)` when the frames were taken, in seconds, increasing; even spacing is not
            needed. Only with frames: a file has a clock of its own.
        estimator: from `find_estimator`; the shipped checkpoint if None.
        box: x, y, width, height of the face in pixels; then no face is looked for.
        full_frame: the whole picture is the face.
        start_s, duration_s: which part of the video.

    Raises:
        InputError: a file that can't be read, frames or timestamps that don't fit, no face, less
            than about 5 s.

    Example:
        >>> predict("face.mp4").hr_bpm  # doctest: +SKIP
        72.4
        >>> predict(frames, np.arange(len(frames)) / 30).hr_bpm  # doctest: +SKIP
        72.4
    """
    pieces = crop_pieces(
        _source(video, timestamps),
        piece_s=READ_S,
        size=CROP_SIZE,
        box=box,
        full_frame=full_frame,
        start_s=start_s,
        duration_s=duration_s,
    )
    return _predict(pieces, estimator or trained())


def predict_crops(crops: FaceCrops, estimator: Estimator | None = None) -> Prediction:
    """Measure the pulse in face crops, through the default protocol's filter and spectrum."""
    return _predict(iter([crops]), estimator or trained())


def _predict(pieces: Iterator[FaceCrops], estimator: Estimator) -> Prediction:
    protocol = Protocol()
    found = estimate(pieces, estimator, protocol.fps)
    started = time.perf_counter()
    grid_s, raw = found.grid_s, found.bvp
    valid = resample(found.valid, found.times_s, grid_s) > 0.5
    if not valid.any():
        gap_s = float(np.median(np.diff(found.times_s)))
        if gap_s > HOLE_S:
            raise InputError(
                f"a frame every {gap_s:.1f} s, too slow for a pulse; record 20 a second or more"
            )
        raise InputError("no frame shows a face; nothing to measure")
    if found.grey:
        log.warning(
            "the pictures have no colour: nothing tells a pulse from light and motion, so the "
            "quality is 0"
        )
    clean = measure(raw, protocol, valid=valid)
    window_s = min(protocol.window_s, len(grid_s) / protocol.fps)
    course = rate_series(clean.bvp, protocol.fps, valid=valid, length_s=window_s, stride_s=1.0)
    if found.grey:
        course = replace(course, quality=np.zeros_like(course.quality))
    rate_hz = local_rate_hz(course, protocol.fps, len(grid_s), BEAT_QUALITY)
    beats = find_beats(clean.bvp, protocol.fps, np.where(valid, rate_hz, np.nan))
    hrv = variability(beats)
    reliable_hz = local_rate_hz(course, protocol.fps, len(grid_s), RELIABLE)
    refined = refine(clean.bvp, reliable_hz, protocol.fps)
    return Prediction(
        hr_bpm=float(clean.clip.hr_bpm[0]),
        quality=0.0 if found.grey else float(clean.clip.quality[0]),
        times_s=grid_s - grid_s[0],
        bvp=_unit(refined),
        measured=_unit(clean.bvp),
        course=course,
        face_share=float(np.mean(found.valid)),
        seconds={
            "video": found.video_s,
            "pulse": found.pulse_s + time.perf_counter() - started,
        },
        frames=len(found.times_s),
        beats_s=beats.times_s,
        hrv=None if isinstance(hrv, str) else hrv,
        hrv_missing=hrv if isinstance(hrv, str) else None,
    )


def _usable(
    estimator: FcusEstimator | PeerEstimator, checkpoint: Path | None
) -> FcusEstimator | PeerEstimator:
    """The estimator, if its network runs at the protocol's rate, on clips of a length."""
    config, fps = estimator.net.config, Protocol().fps
    where = checkpoint.with_suffix(".json") if checkpoint else "the shipped checkpoint"
    if config.fps != fps:
        raise InputError(
            f"{where}: a network for {config.fps:g} frames a second; pulses are measured at "
            f"{fps:g}: train one with model.fps = {fps:g}"
        )
    clip_s = getattr(estimator, "clip_s", None)
    if clip_s is not None and not LEAST_CLIP_S <= clip_s <= MOST_CLIP_S:
        raise InputError(
            f"{where}: made.config.clip_s = {clip_s:g}; expected {LEAST_CLIP_S:g} to "
            f"{MOST_CLIP_S:g} seconds; copy the file again, or train anew"
        )
    return estimator


def _source(
    video: str | Path | NDArray[np.uint8], timestamps: ArrayLike | None
) -> str | Path | InMemoryVideo:
    if isinstance(video, str | Path):
        if timestamps is not None:
            raise InputError(f"{video}: a file has its own clock; leave timestamps out")
        return video
    if not isinstance(video, np.ndarray):
        raise InputError(
            f"a video of type {type(video).__name__}; give a path, or a NumPy array of frames "
            "(T, H, W, 3) with timestamps"
        )
    if timestamps is None:
        raise InputError(
            "frames without timestamps; give the time of each in seconds, such as "
            "np.arange(len(frames)) / 30 for 30 frames a second"
        )
    return in_memory_video(video, timestamps)


def _unit(wave: Array) -> Array:
    deviation = float(np.std(wave))
    return wave / deviation if deviation > 0 else wave


def _rounded(hrv: Variability) -> dict[str, float | int]:
    return {name: round(value, 2) for name, value in asdict(hrv).items()}


def _number(value: float, digits: int) -> float | None:
    """Rounded, or None where undefined."""
    return round(float(value), digits) if np.isfinite(value) else None
