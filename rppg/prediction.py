"""What is found in a recording: its heart rate, quality, wave, and what was noticed."""

import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rppg.signals import RELIABLE, RateSeries, Variability
from rppg.video.face_boxes import Box

Array = NDArray[np.float64]


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


def _rounded_variability(hrv: Variability) -> dict[str, float | int | None]:
    return {name: None if value is None else round(value, 2) for name, value in asdict(hrv).items()}


def _rounded_box(box: Iterable[float] | None) -> list[float] | None:
    """Round a box; None if there is none."""
    sides = [] if box is None else [round(float(side), 1) for side in box]
    return sides if sides and np.all(np.isfinite(sides)) else None


def _rounded(value: float, digits: int) -> float | None:
    """Round a value; None if it is not finite."""
    return round(float(value), digits) if np.isfinite(value) else None
