"""The parts of a dataset that a study trains on and tests on, and the recordings in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rppg.data.selection import SPLIT
from rppg.data.specs import open_dataset, parse_spec
from rppg.data.split import fold_subjects
from rppg.errors import InputError
from rppg.study.config import StudyConfig
from rppg.train.recordings import open_by_ranks
from rppg.types import Recording

Kind = Literal["train", "test", "whole", "fold", "other folds"]


@dataclass(frozen=True)
class Part:
    """A part of a dataset.

    Attributes:
        dataset: its name in the study.
        spec: its SPEC.
        kind: the training split, the test split, the whole, one fold of the subjects, or all the
            other folds. Of a synthetic domain, which has people without end, the whole is the test
            split, and folds are of the training split.
        fold: from 1.
    """

    dataset: str
    spec: str
    kind: Kind
    fold: int = 0

    @property
    def title(self) -> str:
        """The part in words: `pure, test`."""
        return {
            "train": f"{self.dataset}, training",
            "test": f"{self.dataset}, test",
            "whole": self.dataset,
            "fold": f"{self.dataset}, fold {self.fold}",
            "other folds": f"{self.dataset}, all folds but {self.fold}",
        }[self.kind]


def open_part(part: Part, study: StudyConfig) -> list[Recording]:
    """List a part's recordings. Nothing is decoded yet, but synthetic people are rendered.

    Raises:
        InputError: as `open_dataset`, or the part is empty, or too few subjects for the folds.
    """
    spec = parse_spec(part.spec)
    if spec.dataset == "synthetic":
        tested = part.kind in ("test", "whole")
        count = study.test_subjects if tested else study.subjects
        split = study.test_split if tested else "train"
        return _of_fold(part, study, open_dataset(part.spec, split=split, subjects=count))
    if part.kind in ("train", "test"):
        split = study.test_split if part.kind == "test" else "train"
        chosen = spec.query.get(SPLIT)
        if chosen is None:
            text = f"{part.spec}{'&' if spec.query_text else '?'}{SPLIT}={split}"
            return open_dataset(text, split=split, subjects=1)
        if chosen != (split,):
            raise InputError(
                f"{part.spec}: chooses split {','.join(chosen)}, so it has no {split} split; "
                f"leave {SPLIT} out"
            )
    recordings = open_dataset(part.spec, split="test", subjects=1)
    return _of_fold(part, study, recordings)


def open_parts(
    parts: Sequence[Part], study: StudyConfig, *, cache: bool, workers: int
) -> list[Recording]:
    """List the recordings of several parts, each with its dataset's name in the study.

    Of several ranks, each reads a share of the videos.

    Args:
        cache: whether their crops are read from the cache, and stored there.
        workers: processes that read videos into the cache.

    Raises:
        InputError: as `open_part`.
    """

    def open_all() -> list[Recording]:
        return [
            replace(recording, dataset=part.dataset)  # two folders of one layout may share names
            for part in parts
            for recording in open_part(part, study)
        ]

    return open_by_ranks(open_all, cache=cache, workers=workers)


def folds_of(subjects: Iterable[str], folds: int) -> dict[str, int]:
    """Return each subject's fold as `fold_subjects` does.

    Raises:
        InputError: fewer subjects than folds.
    """
    names = set(subjects)
    if len(names) < folds:
        raise InputError(f"{len(names)} subjects for {folds} folds; choose fewer folds")
    return fold_subjects(names, folds)


def _of_fold(part: Part, study: StudyConfig, recordings: list[Recording]) -> list[Recording]:
    if part.kind not in ("fold", "other folds"):
        return recordings
    folds = folds_of((recording.subject for recording in recordings), study.folds)
    return [r for r in recordings if (folds[r.subject] == part.fold) == (part.kind == "fold")]
