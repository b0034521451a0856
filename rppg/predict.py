"""Heart rate of a video: `predict(path)`, or `predict(frames, timestamps)`."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rppg.captured_warnings import collect_warnings
from rppg.data.given_video import open_video
from rppg.errors import InputError
from rppg.estimators.estimator import Estimator
from rppg.estimators.find import choose_estimator, find_estimator, with_reference
from rppg.estimators.objections import find_objections
from rppg.estimators.streaming import Estimate, estimate
from rppg.estimators.stretches import measure_estimate
from rppg.prediction import Prediction
from rppg.signals.face_time import TOO_SHORT, is_short, limit_quality, with_reason
from rppg.signals.filters import HIGH_HZ, LOW_HZ
from rppg.signals.frame_rate import (
    check_frame_rate,
    frame_rate,
    lowest_folded_bpm,
    upper_limit_hz,
)
from rppg.signals.protocol import Protocol
from rppg.signals.reasons import find_reasons
from rppg.signals.refine import normalise
from rppg.types import FaceCrops
from rppg.video.crop import crop_pieces
from rppg.video.face_boxes import FaceBoxes

__all__ = ["Prediction", "find_estimator", "predict", "predict_crops"]

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

PIECE_S = 5.0
"""Length of the pieces in which a video is read."""


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
    chosen = choose_estimator(method, estimator)
    boxes = FaceBoxes(box, full_frame=full_frame)
    with collect_warnings() as warned:
        source = open_video(video, timestamps, fps)
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
    chosen = choose_estimator(method, estimator)
    boxes = FaceBoxes(full_frame=full_frame)
    with collect_warnings() as warned:
        pieces = boxes.collect(iter([crops]))
        found = _predict(pieces, chosen, full_frame=full_frame, name="crops")
    return _with_observations(found, boxes, warned)


def _with_observations(found: Prediction, boxes: FaceBoxes, warned: Sequence[str]) -> Prediction:
    window_boxes = boxes.of_windows(found.rates.start_s, found.rates.end_s)
    return replace(found, warnings=tuple(warned), box=boxes.median(), window_boxes=window_boxes)


def _predict(
    pieces: Iterator[FaceCrops], estimator: Estimator, *, full_frame: bool, name: str
) -> Prediction:
    protocol = Protocol()
    estimator, reference = with_reference(estimator, full_frame=full_frame)
    estimated = estimate(pieces, estimator, protocol.fps, reference)
    started = time.perf_counter()
    grid_s = estimated.grid_s
    check_frame_rate(estimated.times_s)
    valid = estimated.valid_on_grid
    if not valid.any():
        raise InputError("no frame shows a face; nothing to measure")
    if estimated.kinds.grey:
        log.warning(
            "%s: the frames have no colour: a pulse can't be distinguished from light and motion, "
            "so the quality is 0",
            name,
        )
    protocol = replace(protocol, high_hz=_upper_limit_hz(estimated.times_s, name))
    _warn_of_repeats(estimated, name)
    found = measure_estimate(
        estimated, valid, protocol, partial(find_objections, estimated.kinds, protocol.fps)
    )
    rates, whole = found.windows, found.whole
    reasons = find_reasons(rates, found.in_view, objections=found.objections)
    (reason,) = find_reasons(whole, found.whole_in_view, objections=found.whole_objections)
    if is_short(estimated.times_s, estimated.valid & _is_measured(estimated, protocol.fps)):
        rates, whole = limit_quality(rates), limit_quality(whole)
        reasons = with_reason(reasons, TOO_SHORT)
        if found.whole_objections == (None,) and np.isfinite(whole.hr_bpm[0]):
            reason = TOO_SHORT  # in so short a time, light or motion agree with it by chance
    return Prediction(
        hr_bpm=float(whole.hr_bpm[0]),
        quality=float(whole.quality[0]),
        times_s=grid_s - estimated.times_s[0],
        bvp=normalise(found.refined),
        measured=normalise(found.bvp),
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


def _is_measured(estimated: Estimate, fps: float) -> NDArray[np.bool_]:
    """Return whether each frame `(T,)` lies in a stretch that was measured."""
    times_s, grid_s = estimated.times_s, estimated.grid_s
    measured = np.zeros(len(times_s), dtype=np.bool_)
    for part in estimated.stretches:
        end_s = grid_s[part.stop - 1] + 1 / fps
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
    share = float(np.mean(estimated.kinds.repeats))
    if share > 0.5:
        new = int(np.sum(~estimated.kinds.repeats))
        seconds = float(estimated.times_s[-1] - estimated.times_s[0])
        log.warning(
            "%s: %.0f %% of the frames repeat the one before, pixel by pixel: only %.1f a second "
            "are new; a frozen picture has no pulse",
            name, 100 * share, new / seconds,
        )  # fmt: skip
