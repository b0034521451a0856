"""Curves of convergence: the mean of a method on a dataset after each tested epoch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from rppg.study.tables.entries import Entry, grouped
from rppg.study.tables.means import Mean, by_label, means_by_column


@dataclass(frozen=True)
class CurvePoint:
    """A method after one epoch.

    Attributes:
        epoch: after which it is tested.
        clips: trained on until then, the mean over its trainings.
        mean: the method's mean over its training sets; see `Mean`.
    """

    epoch: int
    clips: float
    mean: Mean


def curve_points_of(entries: Sequence[Entry]) -> tuple[CurvePoint, ...]:
    """Return each method's means after each tested epoch, in a study of convergence."""
    tested = [entry for entry in entries if entry.trial.each_epoch and not entry.on_own_split]
    return tuple(point for own in by_label(tested).values() for point in _curve(own))


def _curve(entries: Sequence[Entry]) -> Iterator[CurvePoint]:
    epochs = grouped((entry.epoch for entry in entries), entries)
    for epoch in sorted(epochs):
        for mean in means_by_column(epochs[epoch]):
            clips = [e.clips for e in epochs[epoch] if mean.test in ("", e.part.dataset)]
            yield CurvePoint(epoch, fmean(clips), mean)
