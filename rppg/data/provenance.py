"""What was trained on, or evaluated: in a form that goes into checkpoints and reports."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

from rppg.data.reading import natural
from rppg.types import Recording


@dataclass(frozen=True)
class Used:
    """What was used of one dataset.

    Attributes:
        dataset: as records and tables name it.
        spec: what was asked for.
        split: `train`, `validation`, `test`, or `all`.
        n_subjects: how many people.
        subjects: their names, in natural order. Those of synthetic domains are numbers, and
            consecutive ones are drawn together: `0-99`.
        recordings: how many.
        left_out: recordings that could not be used.
    """

    dataset: str
    spec: str
    split: str
    n_subjects: int
    subjects: tuple[str, ...]
    recordings: int
    left_out: tuple[str, ...] = ()

    def to_json(self) -> dict[str, str | int | list[str]]:
        """As it stands in checkpoints and in `metrics.json`."""
        lists = {"subjects": list(self.subjects), "left_out": list(self.left_out)}
        return {**asdict(self), **lists}


def used(
    recordings: Sequence[Recording], left_out: Collection[tuple[str, str]]
) -> tuple[Used, ...]:
    """What was used, by dataset.

    Args:
        records: all that there were.
        left_out: dataset and name of those that could not be used.
    """
    datasets: dict[str, list[Recording]] = {}
    for recording in recordings:
        datasets.setdefault(recording.dataset, []).append(recording)
    return tuple(_used(name, found, left_out) for name, found in datasets.items())


def _used(dataset: str, found: Sequence[Recording], left_out: Collection[tuple[str, str]]) -> Used:
    kept = [recording for recording in found if (dataset, recording.name) not in left_out]
    subjects = sorted({recording.subject for recording in kept}, key=natural)
    numbered = dataset.startswith("synthetic:")
    return Used(
        dataset=dataset,
        spec=found[0].spec,
        split=found[0].split,
        n_subjects=len(subjects),
        subjects=tuple(_runs(subjects) if numbered else subjects),
        recordings=len(kept),
        left_out=tuple(r.name for r in found if (dataset, r.name) in left_out),
    )


def _runs(numbers: Sequence[str]) -> list[str]:
    """`3 4 5 8` → `3-5 8`."""
    runs = []
    for _, group in groupby(enumerate(map(int, numbers)), lambda pair: pair[1] - pair[0]):
        run = [str(number) for _, number in group]
        runs.append(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return runs
