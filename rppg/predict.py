"""Heart rate of a video: `predict(path)`, or `predict(frames, timestamps)`."""

import logging
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.data.stated_rate import StatedRateVideo, check_rate
from rppg.errors import InputError
from rppg.estimators.estimator import Estimator
from rppg.estimators.fcus import FcusEstimator
from rppg.estimators.find import find_estimator, load_estimator, reference_estimator
from rppg.estimators.streaming import estimate
from rppg.estimators.verified_rates import verify
from rppg.signals import (
    RELIABLE,
    RateSeries,
    Variability,
    continuous_rate_series,
    local_rate_hz,
    refine,
    resample,
    valid_share,
    variability_of_wave,
)
from rppg.signals.protocol import Protocol, measure
from rppg.signals.reasons import find_reasons
from rppg.types import FaceCrops, Video
from rppg.video.crop import HOLE_S, crop_pieces
from rppg.video.sources.in_memory import in_memory_video

__all__ = ["Prediction", "find_estimator", "predict", "predict_crops"]

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

BEAT_QUALITY = 0.8
"""Minimum quality of windows that are searched for beats: variability needs more than a rate."""
PIECE_S = 5.0
"""Length of the pieces in which a video is read."""


@dataclass(frozen=True)
class Prediction:
    """The pulse of a recording, with its heart rate over time.

    Attributes:
        hr_bpm: heart rate of the whole recording; NaN if undefined.
        quality: quality index of the whole recording, 0..1: how likely it is that its heart rate is
            within 5 bpm of the truth. Under 0.5 the heart rate is unreliable.
        times_s: `(T,)` times of the BVP, seconds from the first frame.
        bvp: `(T,)` BVP, up at systole, of standard deviation 1; refined where the pulse is reliable
            (`rppg.signals.refine`).
        measured: `(T,)` the filtered BVP before refining; rates and quality are computed from it.
        rates: heart rate and quality in sliding windows.
        face_share: share of the frames in which the face was in view.
        seconds: wall-clock time by stage.
        frames: number of frames.
        beats_s: `(N,)` times of the systolic peaks where the pulse is reliable.
        hrv: heart rate variability, or None. A value that noise hides is None within it.
        hrv_missing: the reason why `hrv` is None, or None.
        continuous: the windows and quality of `rates`, with the heart rates that are the most
            likely together (`rppg.signals.continuity`); None if they weren't computed.
        reasons: for each window of `rates`, the reason why its heart rate is unreliable; None where
            it is reliable.
        reason: the reason why the heart rate of the whole recording is unreliable, or None.
    """

    hr_bpm: float
    quality: float
    times_s: Array
    bvp: Array
    measured: Array
    rates: RateSeries
    face_share: float
    seconds: dict[str, float]
    frames: int
    beats_s: Array = field(default_factory=lambda: np.zeros(0))
    hrv: Variability | None = None
    hrv_missing: str | None = None
    continuous: RateSeries | None = None
    reasons: tuple[str | None, ...] = ()
    reason: str | None = None

    @property
    def reliable(self) -> bool:
        """Return whether the quality index is high enough to rely on the heart rate."""
        return bool(self.quality >= RELIABLE)

    @property
    def course(self) -> RateSeries:
        """The old name of `rates`."""
        warnings.warn(
            "Prediction.course is now Prediction.rates; the old name goes in the next version",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.rates

    def to_json(self, *, bvp: bool = True) -> dict[str, Any]:
        """Return JSON values; NaN becomes None. `bvp`: include the wave and the beats."""
        none = np.full(len(self.rates.hr_bpm), np.nan)
        windows = [
            {
                "start_s": round(float(start), 3),
                "end_s": round(float(end), 3),
                "hr_bpm": _rounded(hr, 2),
                "continuous_bpm": _rounded(continuous, 2),
                "quality": _rounded(index, 3),
                "reason": reason,
            }
            for start, end, hr, continuous, index, reason in zip(
                self.rates.start_s,
                self.rates.end_s,
                self.rates.hr_bpm,
                none if self.continuous is None else self.continuous.hr_bpm,
                self.rates.quality,
                self.reasons or [None] * len(self.rates.quality),
                strict=True,
            )
        ]
        per_frame = {stage: 1000 * s / self.frames for stage, s in self.seconds.items()}
        values: dict[str, Any] = {
            "hr_bpm": _rounded(self.hr_bpm, 2),
            "quality": _rounded(self.quality, 3),
            "reliable": self.reliable,
            "reason": self.reason,
            "face_share": _rounded(self.face_share, 3),
            "duration_s": _rounded(self.times_s[-1], 3),
            "frames": self.frames,
            "windows": windows,
            "hrv": _rounded_variability(self.hrv) if self.hrv else None,
            "hrv_missing": self.hrv_missing,
            "seconds": {stage: round(s, 3) for stage, s in self.seconds.items()},
            "ms_per_frame": {stage: round(ms, 3) for stage, ms in per_frame.items()},
        }
        if bvp:
            values["bvp"] = {
                "time_s": [round(float(t), 4) for t in self.times_s],
                "value": [_rounded(v, 4) for v in self.bvp],
            }
            values["beats_s"] = [round(float(t), 4) for t in self.beats_s]
        return values


def predict(
    video: str | Path | NDArray[np.uint8],
    timestamps: ArrayLike | None = None,
    *,
    estimator: Estimator | None = None,
    box: tuple[float, float, float, float] | None = None,
    full_frame: bool = False,
    start_s: float = 0.0,
    duration_s: float | None = None,
    fps: float | None = None,
) -> Prediction:
    """Measure the pulse in a video.

    Args:
        video: the path of a video file, or frames `(T, H, W, 3)` uint8 RGB.
        timestamps: `(T,)` times of the frames in seconds, increasing, in any spacing. Only with
            frames: a file has timestamps.
        estimator: see `find_estimator`; None for the network that ships with the package.
        box: x, y, width, height of the face in pixels; no face is then detected.
        full_frame: the face fills the whole frame; no face is then detected.
        start_s, duration_s: the part of the video to read; by default all of it.
        fps: frame rate in Hz, in place of timestamps, or of those of a file that are wrong.

    Raises:
        InputError: a file that can't be read, frames or timestamps that don't fit, no face, or less
            than about 5 s.

    Example:
        >>> predict("face.mp4").hr_bpm  # doctest: +SKIP
        72.4
        >>> predict(frames, np.arange(len(frames)) / 30).hr_bpm  # doctest: +SKIP
        72.4
    """
    pieces = crop_pieces(
        _video_source(video, timestamps, fps),
        piece_s=PIECE_S,
        box=box,
        full_frame=full_frame,
        start_s=start_s,
        duration_s=duration_s,
    )
    return _predict(pieces, estimator, full_frame=full_frame)


def predict_crops(
    crops: FaceCrops, estimator: Estimator | None = None, *, full_frame: bool = False
) -> Prediction:
    """Measure the pulse in face crops, with the filter and spectrum of the default protocol.

    Args:
        crops: of a recording.
        estimator: see `predict`.
        full_frame: the face fills the crops, which then have no background.
    """
    return _predict(iter([crops]), estimator, full_frame=full_frame)


def _predict(
    pieces: Iterator[FaceCrops], estimator: Estimator | None, *, full_frame: bool
) -> Prediction:
    protocol = Protocol()
    estimator = estimator or load_estimator()
    reference = None if isinstance(estimator, FcusEstimator) else reference_estimator()
    if full_frame:
        estimator = estimator.of_skin() if isinstance(estimator, FcusEstimator) else estimator
        reference = reference and reference.of_skin()
    estimated = estimate(pieces, estimator, protocol.fps, reference)
    started = time.perf_counter()
    grid_s = estimated.grid_s
    valid = resample(estimated.valid, estimated.times_s, grid_s) > 0.5
    if not valid.any():
        gap_s = float(np.median(np.diff(estimated.times_s)))
        if gap_s > HOLE_S:
            raise InputError(
                f"a frame every {gap_s:.1f} s, too slow for a pulse; record 20 a second or more"
            )
        raise InputError("no frame shows a face; nothing to measure")
    if estimated.grey:
        log.warning(
            "the frames have no colour: a pulse can't be distinguished from light and motion, so "
            "the quality is 0"
        )
    # A window each second; of a recording shorter than a window, one of the whole.
    window_s = min(protocol.window_s, len(grid_s) / protocol.fps)
    protocol = replace(protocol, window_s=window_s, stride_s=1.0)
    measured = measure(estimated.bvp, protocol, valid=valid)
    continuous = continuous_rate_series(
        measured.bvp,
        protocol.fps,
        valid=valid,
        length_s=window_s,
        stride_s=protocol.stride_s,
        rates=measured.windows,
    )
    measured = verify(measured, estimated.traces, protocol)
    rates, whole = measured.windows, measured.clip
    if estimated.grey:
        rates, whole = (replace(r, quality=np.zeros_like(r.quality)) for r in (rates, whole))
    in_view = valid_share(valid, protocol.fps, length_s=window_s, stride_s=protocol.stride_s)
    windows_in_view = in_view >= protocol.min_valid
    whole_in_view = np.mean(valid, keepdims=True) >= protocol.min_valid
    rate_hz = local_rate_hz(rates, protocol.fps, len(grid_s), BEAT_QUALITY)
    beats, hrv = variability_of_wave(measured.bvp, protocol.fps, np.where(valid, rate_hz, np.nan))
    reliable_hz = local_rate_hz(rates, protocol.fps, len(grid_s), RELIABLE)
    refined = refine(measured.bvp, reliable_hz, protocol.fps)
    return Prediction(
        hr_bpm=float(whole.hr_bpm[0]),
        quality=float(whole.quality[0]),
        times_s=grid_s - grid_s[0],
        bvp=_normalise(refined),
        measured=_normalise(measured.bvp),
        rates=rates,
        face_share=float(np.mean(estimated.valid)),
        seconds={
            "video": estimated.video_s,
            "pulse": estimated.pulse_s + time.perf_counter() - started,
        },
        frames=len(estimated.times_s),
        beats_s=beats.times_s,
        hrv=None if isinstance(hrv, str) else hrv,
        hrv_missing=hrv if isinstance(hrv, str) else None,
        continuous=replace(continuous, quality=rates.quality),
        reasons=find_reasons(rates, windows_in_view, grey=estimated.grey),
        reason=find_reasons(whole, whole_in_view, grey=estimated.grey)[0],
    )


def _video_source(
    video: str | Path | NDArray[np.uint8], timestamps: ArrayLike | None, fps: float | None
) -> str | Path | Video:
    if fps is not None:
        check_rate(fps)
    if isinstance(video, str | Path):
        if timestamps is not None:
            raise InputError(
                f"{video}: a file has its own clock; leave timestamps out, or give fps if it is "
                "wrong"
            )
        return video if fps is None else StatedRateVideo(Path(video), fps)
    if not isinstance(video, np.ndarray):
        raise InputError(
            f"a video of type {type(video).__name__}; give a path, or a NumPy array of frames "
            "(T, H, W, 3) with timestamps"
        )
    if timestamps is not None and fps is not None:
        raise InputError("both timestamps and fps; give one of them")
    if fps is not None:
        timestamps = np.arange(len(video)) / fps
    if timestamps is None:
        raise InputError(
            "frames without timestamps; give the time of each in seconds, such as "
            "np.arange(len(frames)) / 30 for 30 frames a second, or fps=30"
        )
    return in_memory_video(video, timestamps)


def _normalise(wave: Array) -> Array:
    """Scale a wave to standard deviation 1."""
    deviation = float(np.std(wave))
    return wave / deviation if deviation > 0 else wave


def _rounded_variability(hrv: Variability) -> dict[str, float | int | None]:
    return {name: None if value is None else round(value, 2) for name, value in asdict(hrv).items()}


def _rounded(value: float, digits: int) -> float | None:
    """Round a value; None if it is not finite."""
    return round(float(value), digits) if np.isfinite(value) else None
