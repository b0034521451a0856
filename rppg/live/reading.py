"""A reading of a monitor: the newest heart rate, and what a person can do for a better one."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rppg.live.reasons import ADVICE
from rppg.video.resize import Box

Array = NDArray[np.float64]


class State(StrEnum):
    """A state of a monitor.

    Attributes:
        LOOKING: no face is in view.
        MEASURING: a face is in view, but not yet for long enough.
        PULSE: the heart rate is reliable.
        UNRELIABLE: it is not; the reading's `reason` says why.
    """

    LOOKING = "looking for a face"
    MEASURING = "measuring"
    PULSE = "pulse"
    UNRELIABLE = "no reliable pulse"


@dataclass(frozen=True)
class Reading:
    """What a monitor knows at a time; all times are on the clock of the pushed frames.

    Attributes:
        time_s: time of the newest frame.
        state: what the monitor does.
        hr_bpm: heart rate of the window, NaN if undefined.
        quality: quality index of the window in 0..1, as in `rppg.predict.predict`.
        reason: the reason why there is no reliable pulse, in the state `UNRELIABLE`; else None.
        missing_s: seconds of the face that are missing, in the state `MEASURING`; else 0.
        start_s, end_s: the window of up to 10 s that was measured, NaN if there is none. It ends
            some seconds before `time_s`, as a face's box is final only then.
        wave_s: `(T,)` times of the wave in the window.
        wave: `(T,)` BVP, up at systole, of standard deviation 1; refined if the pulse is reliable.
        box: the face's newest x, y, width, height, from forehead to chin, in pixels of the newest
            frame; None if there is no face.
        fps: frames a second that were measured, NaN if there are fewer than two.
    """

    time_s: float
    state: State
    hr_bpm: float = np.nan
    quality: float = 0.0
    reason: str | None = None
    missing_s: float = 0.0
    start_s: float = np.nan
    end_s: float = np.nan
    wave_s: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    wave: Array = field(default_factory=lambda: np.zeros(0), repr=False)
    box: Box | None = None
    fps: float = np.nan

    @property
    def reliable(self) -> bool:
        """Whether to rely on the heart rate."""
        return self.state is State.PULSE

    @property
    def advice(self) -> str | None:
        """What to do for a reliable pulse; None if nothing is known."""
        if self.state is State.LOOKING:
            return "look at the camera"
        return ADVICE.get(self.reason) if self.reason is not None else None

    def to_json(self, *, wave: bool = True) -> dict[str, Any]:
        """Return JSON values; NaN becomes None. `wave`: include the wave."""
        values: dict[str, Any] = {
            "time_s": round(self.time_s, 3),
            "state": str(self.state),
            "hr_bpm": _rounded(self.hr_bpm, 2),
            "quality": round(self.quality, 3),
            "reliable": self.reliable,
            "reason": self.reason,
            "advice": self.advice,
            "missing_s": round(self.missing_s, 1),
            "start_s": _rounded(self.start_s, 3),
            "end_s": _rounded(self.end_s, 3),
            "box": None if self.box is None else [round(side, 1) for side in self.box],
            "fps": _rounded(self.fps, 2),
        }
        if wave:
            values["wave"] = {
                "time_s": [round(float(time_s), 4) for time_s in self.wave_s],
                "value": [round(float(value), 4) for value in self.wave],
            }
        return values


def _rounded(value: float, digits: int) -> float | None:
    return round(value, digits) if np.isfinite(value) else None
