"""The newest heart rate of crops that still arrive: `predict`'s last window, without the others."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rppg.estimators.estimator import Estimator
from rppg.estimators.fcus import FcusEstimator
from rppg.estimators.objections import find_objections, lower_quality
from rppg.estimators.streaming import estimate
from rppg.estimators.stretches import measure_stretch
from rppg.signals import RELIABLE, local_rate_hz, refine
from rppg.signals.face_time import TOO_SHORT, is_short, limit_quality, with_reason
from rppg.signals.frame_rate import check_frame_rate, frame_rate, upper_limit_hz
from rppg.signals.protocol import Protocol
from rppg.signals.rates import RateSeries, row_of
from rppg.signals.reasons import find_reasons
from rppg.signals.refine import normalise
from rppg.types import FaceCrops

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LastWindow:
    """The last window of a recording, as `rppg.predict.predict` measures it.

    Attributes:
        start_s, end_s: on the crops' clock.
        hr_bpm: heart rate, NaN if undefined.
        quality: quality index in 0..1.
        reason: the reason why the rate is unreliable; None if it is reliable.
        in_view: whether enough of the window shows the face.
        wave: `(L,)` BVP of the window, up at systole, of standard deviation 1; refined if the pulse
            is reliable.
        fps: rate of the wave in Hz.
    """

    start_s: float
    end_s: float
    hr_bpm: float
    quality: float
    reason: str | None
    in_view: bool
    wave: Array
    fps: float


def measure_last_window(
    crops: FaceCrops, estimator: Estimator, reference: FcusEstimator | None = None
) -> LastWindow:
    """Measure the last window of 10 s; of all if they are shorter.

    The crops before it count as in `predict`: its quality rests on them, too.

    Args:
        crops: at least 5 s, without a cut or a gap of more than 5 s.
        estimator: any estimator.
        reference: the network that verifies its waves, if it is none itself.

    Raises:
        InputError: too few frames a second for a pulse.
    """
    protocol = Protocol()
    check_frame_rate(crops.times_s)
    estimated = estimate(iter([crops]), estimator, protocol.fps, reference)
    fps, times_s = protocol.fps, estimated.times_s
    protocol = replace(protocol, high_hz=upper_limit_hz(frame_rate(times_s)))
    (part,) = estimated.stretches
    # Two windows: the first, and the last that begins a whole number of seconds later.
    stride_s = max(1.0, float(np.floor(part.stop / fps - protocol.window_s + 1e-9)))
    stretch = measure_stretch(estimated, part, estimated.valid_on_grid, protocol, stride_s)
    bvp, start_s = stretch.measured.bvp, float(estimated.grid_s[0])
    last = row_of(stretch.measured.windows, -1)
    objections = find_objections(estimated.kinds, fps, last, bvp, start_s)
    last = lower_quality(last, objections)
    in_view = stretch.in_view[-1:]
    reasons = find_reasons(last, in_view, objections=objections)
    if is_short(times_s, estimated.valid):
        last, reasons = limit_quality(last), with_reason(reasons, TOO_SHORT)
    return LastWindow(
        start_s=start_s + float(last.start_s[0]),
        end_s=start_s + float(last.end_s[0]),
        hr_bpm=float(last.hr_bpm[0]),
        quality=float(last.quality[0]),
        reason=reasons[0],
        in_view=bool(in_view[0]),
        wave=_refined(bvp, last, fps),
        fps=fps,
    )


def _refined(bvp: Array, last: RateSeries, fps: float) -> Array:
    wave = refine(bvp, local_rate_hz(last, fps, len(bvp), RELIABLE), fps)
    return normalise(wave[round(last.start_s[0] * fps) : round(last.end_s[0] * fps)])
