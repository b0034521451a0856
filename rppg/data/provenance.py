"""The provenance of data: datasets, splits and subjects, as checkpoints and reports list them."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

from rppg.data.find_files import natural_key
from rppg.types import Recording


@dataclass(frozen=True)
class DatasetProvenance:
    """The part of one dataset that a training or an evaluation used.

    Attributes:
        dataset: its name in recordings and tables.
        spec: the SPEC that it was opened with.
        split: `train`, `validation`, `test`, or `all`.
        n_subjects: number of people.
        subjects: their names, in natural order. Subjects of synthetic domains are numbers, and
            consecutive ones are joined: `0-99`.
        recordings: number of recordings used.
        left_out: names of the recordings that could not be used.
    """

    dataset: str
    spec: str
    split: str
    n_subjects: int
    subjects: tuple[str, ...]
    recordings: int
    left_out: tuple[str, ...] = ()

    def to_json(self) -> dict[str, str | int | list[str]]:
        """Return the form that checkpoints and `metrics.json` contain."""
        lists = {"subjects": list(self.subjects), "left_out": list(self.left_out)}
        return {**asdict(self), **lists}


def data_provenance(
    recordings: Sequence[Recording], left_out: Collection[tuple[str, str]]
) -> tuple[DatasetProvenance, ...]:
    """Return the provenance of recordings, by dataset.

    Args:
        recordings: all recordings that were opened.
        left_out: dataset and name of those that could not be used.
    """
    datasets: dict[str, list[Recording]] = {}
    for recording in recordings:
        datasets.setdefault(recording.dataset, []).append(recording)
    return tuple(_of_dataset(name, members, left_out) for name, members in datasets.items())


def _of_dataset(
    dataset: str, recordings: Sequence[Recording], left_out: Collection[tuple[str, str]]
) -> DatasetProvenance:
    kept = [recording for recording in recordings if (dataset, recording.name) not in left_out]
    subjects = sorted({recording.subject for recording in kept}, key=natural_key)
    numbered = dataset.startswith("synthetic:")
    return DatasetProvenance(
        dataset=dataset,
        spec=recordings[0].spec,
        split=recordings[0].split,
        n_subjects=len(subjects),
        subjects=tuple(_ranges(subjects) if numbered else subjects),
        recordings=len(kept),
        left_out=tuple(r.name for r in recordings if (dataset, r.name) in left_out),
    )


def _ranges(numbers: Sequence[str]) -> list[str]:
    """Join consecutive numbers: `3 4 5 8` → `3-5 8`."""
    ranges = []
    for _, group in groupby(enumerate(map(int, numbers)), lambda pair: pair[1] - pair[0]):
        members = [str(number) for _, number in group]
        ranges.append(members[0] if len(members) == 1 else f"{members[0]}-{members[-1]}")
    return ranges
