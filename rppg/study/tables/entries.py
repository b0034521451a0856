"""The entries of a study's long table: one trial on one test part, after one epoch."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rppg.study.config import UNTRAINED
from rppg.study.parts import Part
from rppg.study.plan import Trial
from rppg.study.run import Prepared
from rppg.study.store import Result
from rppg.study.tables.scores import Scores, Windows, score

Key = TypeVar("Key", bound=Hashable)
Metadata = Mapping[str, Mapping[str, str]]
NO_LEVEL = "none"
"""The levels of an ablation, if all are off."""


@dataclass(frozen=True)
class Entry:
    """One trial on one test part, after one epoch.

    Attributes:
        trial: the trial, as planned.
        part: what it is tested on.
        epoch: after which it is tested; 0 for what isn't trained.
        last: whether it is the network that the training ends with.
        windows: columns of the windows; empty without a result.
        seen: number of the tested recordings that are also trained on.
        clips: trained on until then.
        metadata: properties of each tested recording, such as the skin type, by its name.
    """

    trial: Trial
    part: Part
    epoch: int
    last: bool
    windows: Windows
    seen: int = 0
    clips: int = 0
    metadata: Metadata = field(default_factory=dict)

    @property
    def scores(self) -> Scores:
        """The errors over all of its windows."""
        return score(self.windows)

    @property
    def column(self) -> tuple[str, str]:
        """The dataset, and `test` (the training dataset's own test split), `whole` or `folds`."""
        return self.part.dataset, "folds" if self.part.kind == "fold" else self.part.kind

    @property
    def on_own_split(self) -> bool:
        """Whether it is on the test split of a dataset, which doesn't count in means."""
        return self.part.kind == "test"

    @property
    def levels(self) -> str:
        """The levels that are on in an ablation; empty where they are the learner's own."""
        levels = self.trial.levels
        return "" if levels is None else "+".join(levels) or NO_LEVEL

    @property
    def seeded(self) -> bool:
        """Whether anything about the method is random."""
        return self.trial.learned or self.trial.method == UNTRAINED


def label_of(method: str, levels: str) -> str:
    """Return a method's name in tables, as `Trial.label`."""
    return f"{method}, {'no level' if levels == NO_LEVEL else levels}" if levels else method


def entries_of(prepared: Prepared, trial: Trial, result: Result) -> Iterator[Entry]:
    """Yield the entries of a stored trial."""
    job = prepared.jobs[trial]
    trained = {f for part in trial.training for f in prepared.parts[part].fingerprints}
    clips = result["training"].get("clips_per_epoch", 0)
    for part, key in zip(job.trial.tests, job.tests, strict=True):
        test = result["tests"].get(key, {})
        windows: Mapping[str, Any] = test.get("windows", {})
        metadata = {name: r["metadata"] for name, r in test.get("recordings", {}).items()}
        seen = sum(known in trained for known in prepared.parts[part].fingerprints)
        if trial.checkpoint is not None:  # trained elsewhere: by the fingerprints in it
            seen = len(test.get("seen", ()))
        last = max(map(int, windows), default=0)
        for epoch, columns in windows.items():
            number = int(epoch)
            yield Entry(
                trial, part, number, number == last, columns, seen, clips * number, metadata
            )


def grouped(keys: Iterable[Key], entries: Iterable[Entry]) -> dict[Key, list[Entry]]:
    """Return the entries by their key, in order of appearance."""
    groups: dict[Key, list[Entry]] = {}
    for key, entry in zip(keys, entries, strict=True):
        groups.setdefault(key, []).append(entry)
    return groups


def by_seed(entries: Sequence[Entry]) -> dict[int, list[Entry]]:
    """Return the entries of each seed."""
    return grouped((entry.trial.seed for entry in entries), entries)


def by_dataset(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Return the entries of each tested dataset."""
    return grouped((entry.part.dataset for entry in entries), entries)


def joined(entries: Sequence[Entry]) -> Windows:
    """Join the windows of entries, such as those of all folds."""
    names = entries[0].windows
    return {name: [v for entry in entries for v in entry.windows[name]] for name in names}
