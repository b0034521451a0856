"""The recordings whose frames speak against heart rates measured on them.

They stay in every number of the table, which compares methods on all windows, and are listed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rppg.evaluation.results import Evaluation


@dataclass(frozen=True)
class Objected:
    """A recording with windows that `rppg predict` would call unreliable, for one reason.

    Attributes:
        dataset: name of the dataset.
        record: name of the recording.
        reason: what speaks against the rates, beside the evidence from the pixels.
        windows: number of such windows of each method; 0 if it holds only for the whole.
        total: number of the recording's windows.
    """

    dataset: str
    record: str
    reason: str
    windows: Mapping[str, int]
    total: int

    @property
    def text(self) -> str:
        """Return it in a line, such as `s1: a frozen picture (fcus 2, pos 1 of 3 windows)`."""
        counts = set(self.windows.values())
        if len(counts) == 1:
            found = str(*counts)
        else:
            found = ", ".join(f"{method} {count}" for method, count in self.windows.items())
        return f"{self.record}: {self.reason} ({found} of {self.total} windows)"


def list_objected(evaluation: Evaluation) -> list[Objected]:
    """List the recordings with objections, by their order in the evaluation, then by reason."""
    found: dict[tuple[str, str, str], dict[str, int]] = {}
    spans: dict[tuple[str, str], set[float]] = {}
    for scope in ("windows", "clips"):
        for row in evaluation.rows(scope):
            key = row.dataset, row.record
            if scope == "windows":
                spans.setdefault(key, set()).add(row.start_s)
            if row.objection:
                counts = found.setdefault((*key, row.objection), {})
                counts[row.method] = counts.get(row.method, 0) + (scope == "windows")
    order = {(row.dataset, row.record): index for index, row in enumerate(evaluation.clips)}
    return [
        Objected(*key, windows, len(spans.get(key[:2], ())))
        for key, windows in sorted(found.items(), key=lambda item: order[item[0][:2]])
    ]
