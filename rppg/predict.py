"""Heart rate of a video: `predict(path)`, or `predict(frames, timestamps)`."""

import logging
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.captured_warnings import collect_warnings
from rppg.data.stated_rate import StatedRateVideo, check_rate
from rppg.errors import InputError
from rppg.estimators.estimator import Estimator
from rppg.estimators.fcus import FcusEstimator
from rppg.estimators.find import find_estimator, load_estimator, reference_estimator
from rppg.estimators.streaming import Estimate, estimate
from rppg.estimators.stretches import measure_estimate
from rppg.footage.face_boxes import Box, FaceBoxes
from rppg.signals import RELIABLE, RateSeries, Variability, resample
from rppg.signals.face_time import TOO_SHORT, is_short, limit_quality, with_reason
from rppg.signals.filters import HIGH_HZ, LOW_HZ
from rppg.signals.frame_rate import (
    check_frame_rate,
    frame_rate,
    is_frozen,
    lowest_folded_bpm,
    may_be_folded,
    upper_limit_hz,
)
from rppg.signals.keyframes import is_keyframe_rate
from rppg.signals.protocol import Protocol
from rppg.signals.reasons import FOLDED, FROZEN, GREY, KEYFRAMES, find_reasons
from rppg.types import FaceCrops, Video
from rppg.video.crop import crop_pieces
from rppg.video.sources.frame_stream import FrameStream
from rppg.video.sources.in_memory import in_memory_video

__all__ = ["Prediction", "find_estimator", "predict", "predict_crops"]

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

PIECE_S = 5.0
"""Length of the pieces in which a video is read."""


@dataclass(frozen=True, repr=False)
class Prediction:
    """The pulse of a recording, with its heart rate over time.

    Attributes:
        hr_bpm: heart rate of the whole recording, where it shows the face; NaN if undefined, as
            with less than 5 s of the face.
        quality: quality index of the whole recording, 0..1: how likely it is that its heart rate is
            within 5 bpm of the truth. Under 0.5 the heart rate is unreliable, as it is with less
            than 10 s of the face.
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
        warnings: what was noticed while the video was read and measured, in sentences that begin
            with its name: a second face, a face that was lost, frames left out.
        box: the face that was measured: the median over the recording of its box in the video, x,
            y, width, height in pixels; None if the crops have no boxes.
        window_boxes: `(W, 4)` the same for each window of `rates`, NaN where the face wasn't in
            view; None if they weren't computed.
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
    warnings: tuple[str, ...] = ()
    box: Box | None = None
    window_boxes: Array | None = None

    def __repr__(self) -> str:
        """Return the heart rate and how far to trust it, in up to two lines."""
        values = f"hr_bpm={self.hr_bpm:.1f}, quality={self.quality:.2f}, reliable={self.reliable}"
        size = f"frames={self.frames}, windows={len(self.rates.hr_bpm)}"
        noted = f", warnings={len(self.warnings)}" if self.warnings else ""
        reason = f",\n    reason={self.reason!r}" if self.reason else ""
        return f"Prediction({values}, {size}{noted}{reason})"

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
                "box": _rounded_box(box),
            }
            for start, end, hr, continuous, index, reason, box in zip(
                self.rates.start_s,
                self.rates.end_s,
                self.rates.hr_bpm,
                none if self.continuous is None else self.continuous.hr_bpm,
                self.rates.quality,
                self.reasons or [None] * len(self.rates.quality),
                [None] * len(none) if self.window_boxes is None else self.window_boxes,
                strict=True,
            )
        ]
        per_frame = {stage: 1000 * s / self.frames for stage, s in self.seconds.items()}
        values: dict[str, Any] = {
            "hr_bpm": _rounded(self.hr_bpm, 2),
            "quality": _rounded(self.quality, 3),
            "reliable": self.reliable,
            "reason": self.reason,
            "warnings": list(self.warnings),
            "box": _rounded_box(self.box),
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
    video: str | Path | NDArray[np.uint8] | Iterable[Any],
    timestamps: ArrayLike | None = None,
    *,
    method: str | None = None,
    estimator: Estimator | None = None,
    box: tuple[float, float, float, float] | None = None,
    full_frame: bool = False,
    start_s: float = 0.0,
    duration_s: float | None = None,
    fps: float | None = None,
) -> Prediction:
    """Measure the pulse in a video.

    Args:
        video: the path of a video file; frames `(T, H, W, 3)` uint8 RGB, or grey `(T, H, W)`; or
            an iterable of frames, or of pairs of a time in seconds and a frame, which is read
            once, in another thread. OpenCV's frames are BGR: turn each with
            `cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)`, or an array of them with
            `np.ascontiguousarray(frames[..., ::-1])`. A pulse has other strengths in red and blue.
        timestamps: `(T,)` times of the frames in seconds, increasing, in any spacing. Only with an
            array of frames: a file has timestamps.
        method: `fcus` or a classical method such as `pos`, see `find_estimator`; None for the
            network that ships with the package.
        estimator: in place of a method: what `find_estimator` returns, or a function of its kind.
        box: x, y, width, height of the face in pixels; no face is then detected.
        full_frame: the face fills the whole frame; no face is then detected.
        start_s, duration_s: the part of the video to read; by default all of it.
        fps: frame rate in Hz, in place of timestamps, or of those of a file that are wrong.

    Raises:
        InputError: a file that can't be read, frames or timestamps that don't fit, no such method,
            no face, or less than about 5 s.

    Example:
        >>> predict("face.mp4").hr_bpm  # doctest: +SKIP
        72.4
        >>> predict(frames, method="pos", fps=30).hr_bpm  # doctest: +SKIP
        72.4
        >>> predict(zip(times_s, frames)).hr_bpm  # doctest: +SKIP
        72.4
    """
    chosen = _choose_estimator(method, estimator)
    boxes = FaceBoxes(box, full_frame=full_frame)
    with collect_warnings() as warned:
        source = _video_source(video, timestamps, fps)
        pieces = crop_pieces(
            source,
            piece_s=PIECE_S,
            box=box,
            full_frame=full_frame,
            start_s=start_s,
            duration_s=duration_s,
        )
        name = str(source if isinstance(source, str | Path) else source.name)
        found = _predict(boxes.collect(pieces), chosen, full_frame=full_frame, name=name)
    return _with_observations(found, boxes, warned)


def predict_crops(
    crops: FaceCrops,
    estimator: Estimator | None = None,
    *,
    method: str | None = None,
    full_frame: bool = False,
) -> Prediction:
    """Measure the pulse in face crops, with the filter and spectrum of the default protocol.

    Args:
        crops: of a recording.
        estimator: see `predict`.
        method: see `predict`.
        full_frame: the face fills the crops, which then have no background.
    """
    chosen = _choose_estimator(method, estimator)
    boxes = FaceBoxes(full_frame=full_frame)
    with collect_warnings() as warned:
        pieces = boxes.collect(iter([crops]))
        found = _predict(pieces, chosen, full_frame=full_frame, name="crops")
    return _with_observations(found, boxes, warned)


def _choose_estimator(method: str | None, estimator: Any) -> Estimator:
    if isinstance(estimator, str | Path):
        name = str(estimator)
        raise InputError(
            f"estimator={name!r} is a name; give method={name!r}, or "
            f"estimator=find_estimator(checkpoint=Path({name!r})) if it is a checkpoint"
        )
    if estimator is None:
        return load_estimator() if method is None else find_estimator(method)
    if method is not None:
        raise InputError(f"both the method {method!r} and an estimator; give one of them")
    if not callable(estimator):
        raise InputError(
            f"an estimator of type {type(estimator).__name__}; give what find_estimator returns, "
            "or a function of crops and their rate that returns the pulse"
        )
    return estimator


def _with_observations(found: Prediction, boxes: FaceBoxes, warned: Sequence[str]) -> Prediction:
    window_boxes = boxes.of_windows(found.rates.start_s, found.rates.end_s)
    return replace(found, warnings=tuple(warned), box=boxes.median(), window_boxes=window_boxes)


def _predict(
    pieces: Iterator[FaceCrops], estimator: Estimator, *, full_frame: bool, name: str
) -> Prediction:
    protocol = Protocol()
    reference = None if isinstance(estimator, FcusEstimator) else reference_estimator()
    if full_frame:
        estimator = estimator.of_skin() if isinstance(estimator, FcusEstimator) else estimator
        reference = reference and reference.of_skin()
    estimated = estimate(pieces, estimator, protocol.fps, reference)
    started = time.perf_counter()
    grid_s = estimated.grid_s
    check_frame_rate(estimated.times_s)
    valid = resample(estimated.valid, estimated.times_s, grid_s) > 0.5
    if not valid.any():
        raise InputError("no frame shows a face; nothing to measure")
    if estimated.grey:
        log.warning(
            "%s: the frames have no colour: a pulse can't be distinguished from light and motion, "
            "so the quality is 0",
            name,
        )
    protocol = replace(protocol, high_hz=_upper_limit_hz(estimated.times_s, name))
    _warn_of_repeats(estimated, name)
    found = measure_estimate(estimated, valid, protocol, partial(_objections, estimated, protocol))
    rates, whole = found.windows, found.whole
    reasons = find_reasons(rates, found.in_view, objections=found.objections)
    (reason,) = find_reasons(whole, found.whole_in_view, objections=found.whole_objections)
    if is_short(estimated.times_s, estimated.valid & _is_measured(estimated)):
        rates, whole = limit_quality(rates), limit_quality(whole)
        reasons, reason = with_reason(reasons, TOO_SHORT), reason or TOO_SHORT
    return Prediction(
        hr_bpm=float(whole.hr_bpm[0]),
        quality=float(whole.quality[0]),
        times_s=grid_s - estimated.times_s[0],
        bvp=_normalise(found.refined),
        measured=_normalise(found.bvp),
        rates=rates,
        face_share=float(np.mean(estimated.valid)),
        seconds={
            "video": estimated.video_s,
            "pulse": estimated.pulse_s + time.perf_counter() - started,
        },
        frames=len(estimated.times_s),
        beats_s=found.beats.times_s,
        hrv=None if isinstance(found.hrv, str) else found.hrv,
        hrv_missing=found.hrv if isinstance(found.hrv, str) else None,
        continuous=replace(found.continuous, quality=rates.quality),
        reasons=reasons,
        reason=reason,
    )


def _is_measured(estimated: Estimate) -> NDArray[np.bool_]:
    """Return whether each frame `(T,)` lies in a stretch that was measured."""
    times_s, grid_s = estimated.times_s, estimated.grid_s
    measured = np.zeros(len(times_s), dtype=np.bool_)
    for part in estimated.stretches:
        end_s = grid_s[part.stop - 1] + 1 / Protocol().fps
        measured |= (times_s >= grid_s[part.start]) & (times_s < end_s)
    return measured


def _upper_limit_hz(times_s: Array, name: str) -> float:
    """Return the upper end of the band of heart rates in Hz, with a warning if it is reduced."""
    fps = frame_rate(times_s)
    limit_hz = upper_limit_hz(fps)
    if limit_hz < HIGH_HZ:
        log.warning(
            "%s: %.3g frames a second: no heart rate above %.0f bpm can be measured, and one from "
            "%.0f bpm on may be a faster one, folded over, so it is not reliable; record 20 a "
            "second or more",
            name, fps, 60 * limit_hz, max(60 * LOW_HZ, lowest_folded_bpm(fps)),
        )  # fmt: skip
    return limit_hz


def _warn_of_repeats(estimated: Estimate, name: str) -> None:
    """Warn if most frames repeat the one before."""
    share = float(np.mean(estimated.repeats))
    if share > 0.5:
        new = int(np.sum(~estimated.repeats))
        seconds = float(estimated.times_s[-1] - estimated.times_s[0])
        log.warning(
            "%s: %.0f %% of the frames repeat the one before, pixel by pixel: only %.1f a second "
            "are new; a frozen picture has no pulse",
            name, 100 * share, new / seconds,
        )  # fmt: skip


def _objections(
    estimated: Estimate, protocol: Protocol, rates: RateSeries, bvp: Array, start_s: float
) -> tuple[str | None, ...]:
    """Return what else speaks against the rates of a stretch that starts at `start_s`."""
    count = len(rates.hr_bpm)
    if estimated.grey:
        return (GREY,) * count
    windows_s = start_s + rates.start_s, start_s + rates.end_s
    new_s = estimated.times_s[~estimated.repeats]
    keyframes_s = estimated.times_s[estimated.is_key]
    if np.mean(estimated.is_key) > 0.5:  # a codec without frames in between
        keyframes_s = keyframes_s[:0]
    conditions = (
        (is_frozen(new_s, *windows_s), FROZEN),
        (may_be_folded(rates.hr_bpm, new_s, *windows_s), FOLDED),
        (is_keyframe_rate(rates, bvp, protocol.fps, keyframes_s - start_s), KEYFRAMES),
    )
    return tuple(
        next((reason for holds, reason in conditions if holds[index]), None)
        for index in range(count)
    )


def _video_source(
    video: str | Path | NDArray[np.uint8] | Iterable[Any],
    timestamps: ArrayLike | None,
    fps: float | None,
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
        return _frame_stream(video, timestamps, fps)
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


def _frame_stream(frames: object, timestamps: ArrayLike | None, fps: float | None) -> FrameStream:
    if not isinstance(frames, Iterable):
        raise InputError(
            f"a video of type {type(frames).__name__}; give a path, a NumPy array of frames "
            "(T, H, W, 3) with timestamps or fps, or an iterable of frames"
        )
    if timestamps is not None:
        raise InputError("an iterable of frames with timestamps; give zip(timestamps, frames)")
    return FrameStream(frames, fps)


def _normalise(wave: Array) -> Array:
    """Scale a wave to standard deviation 1."""
    deviation = float(np.std(wave))
    return wave / deviation if deviation > 0 else wave


def _rounded_variability(hrv: Variability) -> dict[str, float | int | None]:
    return {name: None if value is None else round(value, 2) for name, value in asdict(hrv).items()}


def _rounded_box(box: Iterable[float] | None) -> list[float] | None:
    """Round a box; None if there is none."""
    sides = [] if box is None else [round(float(side), 1) for side in box]
    return sides if sides and np.all(np.isfinite(sides)) else None


def _rounded(value: float, digits: int) -> float | None:
    """Round a value; None if it is not finite."""
    return round(float(value), digits) if np.isfinite(value) else None
