"""The mark on a method that is tested on recordings of its training data, and its footnotes."""

from collections.abc import Sequence

from rppg.evaluation import Scores

MARK = "†"


def mark(scores: Scores) -> str:
    """Return the mark behind a method's name; empty if it knew none of the recordings."""
    return f" {MARK}" if scores.trained_on else ""


def footnotes(table: Sequence[Scores]) -> list[str]:
    """Return a footnote, without the mark, for each row of a table that is marked."""
    return [
        f"{scores.method} on {', '.join(name for name in (scores.dataset, scores.group) if name)}"
        f": {scores.trained_on} of {scores.recordings} recordings were in its training data"
        for scores in table
        if scores.trained_on
    ]
