"""Results of an evaluation: rows, waveforms, failures, and their summary."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rppg.data.provenance import DatasetProvenance
from rppg.errors import InputError
from rppg.evaluation import metrics
from rppg.evaluation.metrics import BlandAltman, Statistic
from rppg.signals import rppg_toolbox

Array = NDArray[np.float64]
Scope = Literal["windows", "clips"]


@dataclass(frozen=True)
class Row:
    """The result of a method on a window, or on a whole clip. NaN means undefined.

    Attributes:
        dataset: name of the dataset.
        record: name of the recording.
        subject: name of its subject.
        metadata: properties of the recording, such as the skin type.
        method: name of the method.
        start_s: start of the window, seconds on the video's clock.
        end_s: end of the window.
        hr_true_bpm: heart rate of the ground truth; NaN if that has no peak.
        hr_pred_bpm: heart rate of the prediction; NaN if the method gives none.
        snr_db: power at the true heart rate and its double over the rest of the band.
        quality: quality index of the prediction in 0..1.
        correlation: correlation with the true BVP at the best lag within ±0.2 s.
        sine_correlation: correlation of the true BVP with the best sine of constant rate.
        macc: maximum amplitude of cross-correlation over all lags.
        beat_error_ms: mean absolute error of the beat-to-beat intervals.
        objection: the reason, beside the evidence from the pixels, why the prediction isn't
            reliable (`rppg.estimators.objections`); its quality is then 0. Empty if there is none.
    """

    dataset: str
    record: str
    subject: str
    metadata: Mapping[str, str]
    method: str
    start_s: float
    end_s: float
    hr_true_bpm: float
    hr_pred_bpm: float
    snr_db: float = float("nan")
    quality: float = float("nan")
    correlation: float = float("nan")
    sine_correlation: float = float("nan")
    macc: float = float("nan")
    beat_error_ms: float = float("nan")
    objection: str = ""

    @property
    def error_bpm(self) -> float:
        """Return the predicted minus the true heart rate."""
        return self.hr_pred_bpm - self.hr_true_bpm


@dataclass(frozen=True)
class Waveform:
    """A method's BVP and the true one, both filtered by the protocol; all arrays `(T,)`."""

    dataset: str
    record: str
    method: str
    times_s: Array
    bvp_true: Array
    bvp_pred: Array


@dataclass(frozen=True)
class Waves:
    """The waves of one recording, filtered by the protocol; all arrays `(T,)`.

    Attributes:
        dataset: name of the dataset.
        record: name of the recording.
        times_s: seconds on the video's clock.
        bvp_true: the ground truth; None if that is heart rates without a wave.
        bvp_pred: the prediction of each method that has one.
    """

    dataset: str
    record: str
    times_s: Array
    bvp_true: Array | None
    bvp_pred: Mapping[str, Array]


@dataclass(frozen=True)
class Failure:
    """A recording, or a method on it, that could not be evaluated, with the reason."""

    dataset: str
    record: str
    method: str | None
    reason: str


@dataclass(frozen=True)
class TrainedOn:
    """A recording that was in the training data of a method that is tested on it."""

    dataset: str
    record: str
    method: str


@dataclass(frozen=True)
class Outcome:
    """The outcome of a recording: rows, failures, and for some recordings waveforms."""

    windows: tuple[Row, ...] = ()
    clips: tuple[Row, ...] = ()
    waveforms: tuple[Waveform, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def readable(self) -> bool:
        """Return whether the recording could be read."""
        return all(failure.method is not None for failure in self.failures)


@dataclass(frozen=True)
class Scores:
    """A row of the score table: a method on a dataset, or on a group of its recordings.

    Attributes:
        dataset: name of the dataset.
        method: name of the method.
        group: value of the metadata that the recordings share, or "" for all recordings.
        n: number of windows (or clips) with a true heart rate.
        n_subjects: number of their subjects.
        coverage: share of the n for which the method gives a heart rate.
        mae_bpm: mean absolute error.
        rmse_bpm: root mean squared error.
        mape_percent: mean absolute percentage error.
        pearson_r: correlation of predicted with true heart rate.
        snr_db: mean signal-to-noise ratio.
        correlation: mean correlation of the waveforms.
        sine_correlation: mean correlation of the truth with the best sine of constant rate.
        macc: mean of the maximum amplitude of cross-correlation.
        beat_error_ms: mean error of the beat-to-beat intervals.
        agreement: Bland and Altman's bias and limits.
        recordings: number of recordings of the n.
        trained_on: number of them that were in the method's training data.
    """

    dataset: str
    method: str
    group: str
    n: int
    n_subjects: int
    coverage: float
    mae_bpm: Statistic
    rmse_bpm: Statistic
    mape_percent: Statistic
    pearson_r: Statistic
    snr_db: Statistic
    correlation: Statistic
    sine_correlation: Statistic
    macc: Statistic
    beat_error_ms: Statistic
    agreement: BlandAltman
    recordings: int = 0
    trained_on: int = 0


@dataclass(frozen=True)
class Difference:
    """The mean of `|error of a| − |error of b|` in bpm over windows where both are defined.

    Negative means that `a` is better. The interval is a 95 % bootstrap over subjects.
    """

    mean_bpm: float
    low_bpm: float
    high_bpm: float
    n: int
    n_subjects: int


@dataclass(frozen=True)
class Evaluation:
    """The results of every method on every recording under one protocol.

    Attributes:
        settings: the protocol's settings, by name.
        windows: a row for each window and method.
        clips: a row for each whole clip and method.
        waveforms: examples.
        failures: recordings and methods that failed. A recording that failed has no rows. A method
            that failed on a recording has rows without a heart rate, which lower its coverage.
        data: the provenance of the recordings, by dataset.
        trained_on: recordings that were in a method's training data.
    """

    settings: Mapping[str, str | float]
    windows: tuple[Row, ...]
    clips: tuple[Row, ...]
    waveforms: tuple[Waveform, ...] = ()
    failures: tuple[Failure, ...] = ()
    data: tuple[DatasetProvenance, ...] = ()
    trained_on: tuple[TrainedOn, ...] = ()

    @property
    def datasets(self) -> tuple[str, ...]:
        """Return the datasets in the order in which they were evaluated."""
        return tuple(dict.fromkeys(row.dataset for row in self.clips))

    @property
    def methods(self) -> tuple[str, ...]:
        """Return the methods in the order in which they were given."""
        return tuple(dict.fromkeys(row.method for row in self.clips))

    @property
    def metadata_keys(self) -> tuple[str, ...]:
        """Return the keys of the recordings' metadata, such as the skin type."""
        return tuple(dict.fromkeys(key for row in self.clips for key in row.metadata))

    def rows(self, scope: Scope = "windows") -> tuple[Row, ...]:
        """Return the rows of the windows or of the whole clips."""
        return self.windows if scope == "windows" else self.clips

    def summary(self, scope: Scope = "windows", *, by: str | None = None) -> list[Scores]:
        """Compute scores for each dataset and method, and for each value of the metadata `by`."""
        groups: dict[tuple[str, str, str], list[Row]] = {}
        for row in self.rows(scope):
            group = "" if by is None else row.metadata.get(by, "unknown")
            groups.setdefault((row.dataset, row.method, group), []).append(row)
        order = sorted(
            groups,
            key=lambda k: (self.datasets.index(k[0]), k[2], self.methods.index(k[1])),
        )
        trained_on = {(t.dataset, t.record, t.method) for t in self.trained_on}
        table = [_scores(*key, groups[key], trained_on) for key in order]
        if self.settings.get("name") == "toolbox":
            table = [_as_toolbox(s, groups[key]) for s, key in zip(table, order, strict=True)]
        return table


def paired_difference(
    evaluation: Evaluation,
    dataset: str,
    method_a: str,
    method_b: str,
    scope: Scope = "windows",
    *,
    seed: int = 0,
) -> Difference:
    """Compare two methods on the same windows of a dataset: the mean of `|e_a| − |e_b|`.

    Raises:
        InputError: the dataset was not evaluated with that method.
    """
    rows = [row for row in evaluation.rows(scope) if row.dataset == dataset]
    by_method: dict[str, dict[tuple[str, float], Row]] = {}
    for method in (method_a, method_b):
        by_method[method] = {(r.record, r.start_s): r for r in rows if r.method == method}
        if not by_method[method]:
            raise InputError(
                f"{dataset} was not evaluated with {method!r}; choose from "
                f"{', '.join(evaluation.methods) or 'no methods'} on "
                f"{', '.join(evaluation.datasets) or 'no dataset'}"
            )
    shared = [key for key in by_method[method_a] if key in by_method[method_b]]
    a, b = ([by_method[method][key] for key in shared] for method in (method_a, method_b))
    gain = np.array([abs(p.error_bpm) - abs(q.error_bpm) for p, q in zip(a, b, strict=True)])
    keep = np.isfinite(gain)
    result = metrics.mean(gain, [row.subject for row in a], seed=seed)
    subjects = {row.subject for row, k in zip(a, keep, strict=True) if k}
    return Difference(result.value, result.low, result.high, int(np.sum(keep)), len(subjects))


def _scores(
    dataset: str,
    method: str,
    group: str,
    rows: Sequence[Row],
    trained_on: Collection[tuple[str, str, str]],
) -> Scores:
    rows = [row for row in rows if np.isfinite(row.hr_true_bpm)]
    subjects = [row.subject for row in rows]
    recordings = {row.record for row in rows}
    true = np.array([row.hr_true_bpm for row in rows])
    predicted = np.array([row.hr_pred_bpm for row in rows])
    return Scores(
        dataset=dataset,
        method=method,
        group=group,
        n=len(rows),
        n_subjects=len(set(subjects)),
        coverage=float(np.mean(np.isfinite(predicted))) if rows else float("nan"),
        mae_bpm=metrics.mae(true, predicted, subjects),
        rmse_bpm=metrics.rmse(true, predicted, subjects),
        mape_percent=metrics.mape(true, predicted, subjects),
        pearson_r=metrics.pearson(true, predicted, subjects),
        snr_db=metrics.mean([row.snr_db for row in rows], subjects),
        correlation=metrics.mean([row.correlation for row in rows], subjects),
        sine_correlation=metrics.mean([row.sine_correlation for row in rows], subjects),
        macc=metrics.mean([row.macc for row in rows], subjects),
        beat_error_ms=metrics.mean([row.beat_error_ms for row in rows], subjects),
        agreement=metrics.bland_altman(true, predicted),
        recordings=len(recordings),
        trained_on=sum((dataset, name, method) in trained_on for name in recordings),
    )


def _as_toolbox(scores: Scores, rows: Sequence[Row]) -> Scores:
    """Replace the standard errors by rPPG-Toolbox's."""
    rows = [row for row in rows if np.isfinite(row.hr_true_bpm)]
    errors = rppg_toolbox.standard_errors(
        np.array([row.hr_true_bpm for row in rows]),
        np.array([row.hr_pred_bpm for row in rows]),
        [row.snr_db for row in rows],
        [row.macc for row in rows],
    )
    changed = {name: replace(getattr(scores, name), se=se) for name, se in errors.items()}
    return replace(scores, **changed)
