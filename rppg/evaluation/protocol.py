"""The protocol: prediction and label go through the same filter, windows and spectrum."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.evaluation import toolbox
from rppg.evaluation.estimators import ConstantGuess, Estimator
from rppg.evaluation.metrics import snr_db
from rppg.evaluation.results import Evaluation, Failure, Row, Waveform
from rppg.evaluation.waveform import beat_error_ms, lagged_correlation, macc, sine_correlation
from rppg.records import Pulse, Record
from rppg.signals import (
    RateCourse,
    bandpass,
    detrend,
    heart_rate_bpm,
    rate_course,
    resample,
    resample_frames,
    uniform_grid,
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Protocol:
    """Settings of an evaluation.

    Attributes:
        name: `default`, or `toolbox` for rPPG-Toolbox's filter, spectrum, SNR and standard errors.
        fps: rate of the common grid in Hz.
        low_hz: lower end of the pulse's band.
        high_hz: its upper end.
        order: order of the Butterworth filter.
        window_s: length of a window in seconds.
        stride_s: from one window's start to the next; as long as a window, so that none overlap.
        min_valid: least share of a window's frames that must show the face; under it the window
            has no estimate.
        max_gap_s: a hole in the frames or in the label longer than this counts as missing.
        examples: records of each dataset whose waveforms are kept.
    """

    name: Literal["default", "toolbox"] = "default"
    fps: float = 30.0
    low_hz: float = 0.6
    high_hz: float = 3.3
    order: int = 2
    window_s: float = 10.0
    stride_s: float = 10.0
    min_valid: float = 0.5
    max_gap_s: float = 0.5
    examples: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.low_hz < self.high_hz < self.fps / 2:
            raise InputError(
                f"the band {self.low_hz}–{self.high_hz} Hz does not fit below half of "
                f"{self.fps} Hz; raise fps or narrow the band"
            )
        if self.window_s * self.low_hz < 2:
            raise InputError(
                f"a window of {self.window_s} s holds fewer than two beats at {self.low_hz} Hz; "
                f"give at least {2 / self.low_hz:.1f} s"
            )
        if self.stride_s <= 0:
            raise InputError(f"stride_s is {self.stride_s}; give a positive number of seconds")


TOOLBOX = Protocol(name="toolbox", order=1)
"""As rPPG-Toolbox's code does; its paper has `replace(TOOLBOX, low_hz=0.75, high_hz=2.5)`."""


@dataclass(frozen=True)
class Measured:
    """One signal after the protocol: filtered BVP `(T,)`, its rates by window and as a whole."""

    bvp: Array
    windows: RateCourse
    clip: RateCourse


@dataclass(frozen=True)
class _Trial:
    """A record on the common grid, ready for every method."""

    record: Record
    grid_s: Array
    frames: NDArray[np.float32]
    in_view: NDArray[np.bool_]
    truth: Measured


def evaluate(
    records: Iterable[Record],
    estimators: Mapping[str, Estimator | ConstantGuess],
    protocol: Protocol | None = None,
    progress: Callable[[Record], None] | None = None,
) -> Evaluation:
    """Every estimator on every record.

    A record that cannot be read, or has no ground truth, becomes a `Failure` and the rest goes on;
    so does an estimator that raises `InputError` on a record, whose windows then count as not
    covered. Pictures are read once for each record, and let go after it.

    Args:
        records: with ground truth.
        estimators: by the name in the table.
        protocol: settings; the default protocol if None.
        progress: called after each record.

    Raises:
        InputError: no estimators.
    """
    protocol = protocol or Protocol()
    if not estimators:
        raise InputError("there is nothing to evaluate; give at least one method or checkpoint")
    windows: list[Row] = []
    clips: list[Row] = []
    waveforms: list[Waveform] = []
    failures: list[Failure] = []
    shown: dict[str, int] = {}
    for record in records:
        try:
            trial = _prepare(record, protocol)
        except InputError as error:
            failures.append(Failure(record.dataset, record.name, None, str(error)))
        else:
            shown[record.dataset] = shown.get(record.dataset, 0) + 1
            for name, estimator in estimators.items():
                predicted = None
                if not isinstance(estimator, ConstantGuess):
                    try:
                        bvp = _estimate(name, estimator, trial, protocol)
                    except InputError as error:
                        failures.append(Failure(record.dataset, record.name, name, str(error)))
                        bvp = np.full(len(trial.grid_s), np.nan)
                    predicted = measure(bvp, protocol, valid=trial.in_view)
                guess = estimator.bpm if isinstance(estimator, ConstantGuess) else math.nan
                windows += _rows(trial, name, predicted, guess, protocol, whole=False)
                clips += _rows(trial, name, predicted, guess, protocol, whole=True)
                if predicted is not None and shown[record.dataset] <= protocol.examples:
                    waveforms.append(
                        Waveform(
                            record.dataset,
                            record.name,
                            name,
                            trial.grid_s,
                            trial.truth.bvp,
                            predicted.bvp,
                        )
                    )
        if progress is not None:
            progress(record)
    return Evaluation(
        settings=asdict(protocol),
        windows=tuple(windows),
        clips=tuple(clips),
        waveforms=tuple(waveforms),
        failures=tuple(failures),
    )


def measure(bvp: Array, protocol: Protocol, *, valid: NDArray[np.bool_] | None = None) -> Measured:
    """Filter a BVP `(T,)` on the protocol's grid, and take its heart rates.

    Prediction and label both pass here. `valid` `(T,)` is False where the source was missing.
    """
    fps, band = protocol.fps, (protocol.low_hz, protocol.high_hz)
    if protocol.name == "toolbox":
        clean = toolbox.clean(bvp, fps, *band, protocol.order)
    else:
        clean = bandpass(detrend(bvp, fps), fps, *band, protocol.order)

    def course(length_s: float, stride_s: float) -> RateCourse:
        return rate_course(
            clean,
            protocol.fps,
            valid=valid,
            length_s=length_s,
            stride_s=stride_s,
            low_hz=protocol.low_hz,
            high_hz=protocol.high_hz,
            min_valid=protocol.min_valid,
            rate=toolbox.heart_rate_bpm if protocol.name == "toolbox" else heart_rate_bpm,
        )

    whole_s = len(clean) / protocol.fps
    return Measured(clean, course(protocol.window_s, protocol.stride_s), course(whole_s, whole_s))


def _prepare(record: Record, protocol: Protocol) -> _Trial:
    if record.load_truth is None:
        raise InputError(f"{record.name} has no ground truth; it can be trained on, not evaluated")
    truth = _finite(record.load_truth(), record)
    crops = record.load_crops()
    start = max(truth.times_s[0], crops.times_s[0])
    end = min(_end_s(truth.times_s), _end_s(crops.times_s))
    if end - start < 2 / protocol.low_hz:
        raise InputError(
            f"{record.name}: video ({crops.times_s[0]:.1f}–{crops.times_s[-1]:.1f} s) and ground "
            f"truth ({truth.times_s[0]:.1f}–{truth.times_s[-1]:.1f} s) share "
            f"{max(0.0, end - start):.1f} s; at least {2 / protocol.low_hz:.1f} s are needed"
        )
    grid = uniform_grid([start, end - 1 / protocol.fps], protocol.fps)
    labelled = _covered(truth.times_s, grid, protocol.max_gap_s)
    in_view = _covered(crops.times_s, grid, protocol.max_gap_s)
    in_view &= resample(crops.valid, crops.times_s, grid) > 0.5
    label = resample(truth.bvp, truth.times_s, grid)
    return _Trial(
        record=record,
        grid_s=grid,
        frames=resample_frames(crops.frames, crops.times_s, grid),
        in_view=in_view,
        truth=measure(label, replace(protocol, min_valid=0.9), valid=labelled),
    )


def _finite(truth: Pulse, record: Record) -> Pulse:
    keep = np.isfinite(truth.bvp) & np.isfinite(truth.times_s)
    if np.sum(keep) < 2:
        raise InputError(
            f"{record.name}: the ground truth has {int(np.sum(keep))} usable samples of "
            f"{len(keep)}; check its file"
        )
    return Pulse(truth.times_s[keep], truth.bvp[keep])


def _end_s(times_s: Array) -> float:
    """When the last sample's own interval ends: 400 frames at 20 fps last 20 s, not 19.95 s."""
    return float(times_s[-1] + np.median(np.diff(times_s)))


def _covered(times_s: Array, grid_s: Array, max_gap_s: float) -> NDArray[np.bool_]:
    """Which points of the grid lie outside of holes longer than `max_gap_s`."""
    after = np.clip(np.searchsorted(times_s, grid_s), 1, len(times_s) - 1)
    return np.asarray(times_s[after] - times_s[after - 1] <= max_gap_s)


def _estimate(name: str, estimator: Estimator, trial: _Trial, protocol: Protocol) -> Array:
    bvp = np.asarray(estimator(trial.frames, protocol.fps), dtype=np.float64)
    if bvp.shape != trial.grid_s.shape:
        raise ValueError(
            f"estimator {name!r} gave shape {bvp.shape} for {len(trial.grid_s)} frames; "
            f"it must give {trial.grid_s.shape}"
        )
    return bvp


def _snr_db(bvp: Array, hr_true_bpm: float, protocol: Protocol) -> float:
    if protocol.name == "toolbox":
        band = (protocol.low_hz, protocol.high_hz)
        return float(toolbox.snr_db(bvp, protocol.fps, hr_true_bpm, *band))
    return float(snr_db(bvp, protocol.fps, hr_true_bpm))


def _rows(
    trial: _Trial,
    method: str,
    predicted: Measured | None,
    guess_bpm: float,
    protocol: Protocol,
    *,
    whole: bool,
) -> list[Row]:
    """One row for each window (or one for the clip); without `predicted`, the constant guess."""
    record, fps = trial.record, protocol.fps
    truth = trial.truth.clip if whole else trial.truth.windows
    rates = None if predicted is None else (predicted.clip if whole else predicted.windows)
    rows = []
    for k, (start, end) in enumerate(zip(truth.start_s, truth.end_s, strict=True)):
        row = Row(
            dataset=record.dataset,
            record=record.name,
            subject=record.subject,
            metadata=dict(record.metadata),
            method=method,
            start_s=float(trial.grid_s[0] + start),
            end_s=float(trial.grid_s[0] + end),
            hr_true_bpm=float(truth.hr_bpm[k]),
            hr_pred_bpm=guess_bpm,
        )
        if predicted is not None and rates is not None:
            part = slice(round(start * fps), round(end * fps))
            bvp_true, bvp = trial.truth.bvp[part], predicted.bvp[part]
            row = replace(
                row,
                hr_pred_bpm=float(rates.hr_bpm[k]),
                quality=float(rates.quality[k]),
                snr_db=_snr_db(bvp, row.hr_true_bpm, protocol),
                correlation=lagged_correlation(bvp_true, bvp, fps),
                sine_correlation=sine_correlation(bvp_true, fps, row.hr_true_bpm),
                macc=macc(bvp_true, bvp),
                beat_error_ms=beat_error_ms(bvp_true, bvp, fps),
            )
        rows.append(row)
    return rows
