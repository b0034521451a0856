"""What isn't in the tables of a study, and why."""

from collections.abc import Mapping
from dataclasses import dataclass

from rppg.study.plan import Trial, plan_trials
from rppg.study.run import Prepared
from rppg.study.store import Result


@dataclass(frozen=True)
class LeftOut:
    """Something that isn't in the tables, and why.

    Attributes:
        kind: `part` of a dataset, `trial`, `test`, `recording` of a test, `estimate` of one, or
            `training recording`.
        what: its name.
        reason: why.
        trials: number of trials concerned.
    """

    kind: str
    what: str
    reason: str
    trials: int


def left_out_of(prepared: Prepared, results: Mapping[Trial, Result]) -> tuple[LeftOut, ...]:
    """Return what isn't in the tables, each with the number of trials concerned."""
    concerned: dict[tuple[str, str, str], set[Trial]] = {}

    def add(kind: str, what: str, reason: str, trial: Trial) -> None:
        concerned.setdefault((kind, what, reason), set()).add(trial)

    for trial in plan_trials(prepared.study):
        for part in (*trial.training, *trial.tests):
            if prepared.parts[part].reason:
                add("part", part.title, prepared.parts[part].reason, trial)
    for trial, reason in prepared.skipped.items():
        add("trial", trial.title, reason, trial)
    for trial, result in results.items():
        if "failed" in result:
            add("trial", trial.title, result["failed"]["reason"], trial)
        for name, reason in result["training"].get("skipped", {}).items():
            add("training recording", name, reason, trial)
        job = prepared.jobs[trial]
        for part, key in zip(job.trial.tests, job.tests, strict=True):
            test = result["tests"].get(key, {})
            if "failed" in test:
                what = f"{trial.title}: {part.title}"
                add("test", what, test["failed"]["reason"], trial)
            for out in test.get("left_out", ()):
                kind = "estimate" if out["method"] else "recording"
                add(kind, f"{part.dataset}: {out['recording']}", out["reason"], trial)
    return tuple(LeftOut(*what, len(trials)) for what, trials in concerned.items())
