"""Heart rate from a video or from frames: `predict(path)`, `rppg predict`."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.evaluation import Protocol, classical, measure
from rppg.methods import METHODS
from rppg.models.estimator import trained
from rppg.records import FaceCrops
from rppg.signals import RateCourse, quality, rate_course, resample, resample_frames, uniform_grid
from rppg.video.crop import read_crops

Array = NDArray[np.float64]
Estimator = Callable[[NDArray[np.float32], float], Array]

CROP_SIZE = 54
RELIABLE = 0.5
"""Quality under which a heart rate is not to be trusted; see `rppg.signals.quality`."""


@dataclass(frozen=True)
class Prediction:
    """What was measured on one recording.

    Attributes:
        hr_bpm: heart rate of the whole recording; NaN where there is none.
        quality: quality index of the whole recording, 0..1; under 0.5 don't trust it.
        times_s: `(T,)` clock of the BVP, seconds from the first frame.
        bvp: `(T,)` filtered BVP, up at systole, unit deviation.
        course: heart rate and quality in sliding windows.
        face_share: share of the frames in which the face was seen.
        seconds: wall-clock time by stage.
        frames: frames read.
    """

    hr_bpm: float
    quality: float
    times_s: Array
    bvp: Array
    course: RateCourse
    face_share: float
    seconds: dict[str, float]
    frames: int

    @property
    def reliable(self) -> bool:
        """Whether the quality index is high enough to trust the heart rate."""
        return bool(self.quality >= RELIABLE)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; NaN becomes null."""
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
        return {
            "hr_bpm": _number(self.hr_bpm, 2),
            "quality": _number(self.quality, 3),
            "reliable": self.reliable,
            "face_share": _number(self.face_share, 3),
            "duration_s": _number(self.times_s[-1], 3),
            "frames": self.frames,
            "windows": windows,
            "seconds": {stage: round(s, 3) for stage, s in self.seconds.items()},
            "ms_per_frame": {stage: round(ms, 3) for stage, ms in per_frame.items()},
            "bvp": {
                "time_s": [round(float(t), 4) for t in self.times_s],
                "value": [_number(v, 4) for v in self.bvp],
            },
        }


def find_estimator(method: str = "fcus", checkpoint: Path | None = None) -> Estimator:
    """The estimator called `method`: `fcus`, or a classical method of `rppg.methods.METHODS`."""
    if method == "fcus":
        return trained(checkpoint)
    if checkpoint is not None:
        raise InputError(f"method {method!r} takes no checkpoint; leave it out or choose fcus")
    if method not in METHODS:
        raise InputError(f"no method {method!r}; choose one of fcus, {', '.join(METHODS)}")
    return classical(method)


def predict(
    path: str | Path,
    *,
    estimator: Estimator | None = None,
    box: tuple[float, float, float, float] | None = None,
    full_frame: bool = False,
    start_s: float = 0.0,
    duration_s: float | None = None,
) -> Prediction:
    """Measure the pulse in a video.

    Args:
        path: the video.
        estimator: from `find_estimator`; the shipped checkpoint if None.
        box: x, y, width, height of the face in pixels; then no face is looked for.
        full_frame: the whole picture is the face.
        start_s, duration_s: which part of the video.

    Raises:
        InputError: a file that can't be read, no face, less than about 5 s.

    Example:
        >>> predict("face.mp4").hr_bpm  # doctest: +SKIP
        72.4
    """
    started = time.perf_counter()
    crops = read_crops(
        path,
        size=CROP_SIZE,
        box=box,
        full_frame=full_frame,
        start_s=start_s,
        duration_s=duration_s,
    )
    return predict_crops(
        crops, estimator or trained(), seconds={"video": time.perf_counter() - started}
    )


def predict_crops(
    crops: FaceCrops, estimator: Estimator, *, seconds: dict[str, float] | None = None
) -> Prediction:
    """Measure the pulse in face crops, through the default protocol's filter and spectrum."""
    started = time.perf_counter()
    protocol = Protocol()
    grid_s = uniform_grid(crops.times_s, protocol.fps)
    frames = resample_frames(crops.frames, crops.times_s, grid_s)
    valid = resample(crops.valid, crops.times_s, grid_s) > 0.5
    if not valid.any():
        raise InputError("no frame shows a face; nothing to measure")
    clean = measure(estimator(frames, protocol.fps), protocol, valid=valid)
    window_s = min(protocol.window_s, len(grid_s) / protocol.fps)
    course = rate_course(clean.bvp, protocol.fps, valid=valid, length_s=window_s, stride_s=1.0)
    deviation = float(np.std(clean.bvp))
    return Prediction(
        hr_bpm=float(clean.clip.hr_bpm[0]),
        quality=float(quality(clean.bvp, protocol.fps)),
        times_s=grid_s - grid_s[0],
        bvp=clean.bvp / deviation if deviation > 0 else clean.bvp,
        course=course,
        face_share=float(np.mean(crops.valid)),
        seconds={**(seconds or {}), "pulse": time.perf_counter() - started},
        frames=len(crops.frames),
    )


def _number(value: float, digits: int) -> float | None:
    """Rounded, or None where undefined."""
    return round(float(value), digits) if np.isfinite(value) else None
