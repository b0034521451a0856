"""A study with results written by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rppg.study.config import StudyConfig
from rppg.study.key import job_of
from rppg.study.parts import Part
from rppg.study.plan import Trial, plan_trials
from rppg.study.run import Prepared
from rppg.study.store import Store
from rppg.study.survey import PartSurvey

ERRORS = {  # bpm, by test dataset and part: subject → its windows
    (0, "test"): {"a9": [100.0]},
    (1, "test"): {"b9": [100.0]},
    (0, "whole"): {"a1": [1.0, 1.0, 1.0], "a2": [5.0]},
    (1, "whole"): {"b1": [3.0, None], "b2": [7.0]},
}
LIGHT = {"a1": "9 lux", "a2": "10 lux", "b1": "9 lux"}
"""What is known of the recordings; nothing is of b2's."""
EPOCHS = (1, 2)
"""Of a study of convergence; errors fall by 4 bpm from one to the next."""


def invent(
    folder: Path,
    names: Sequence[str] = ("a", "b"),
    *,
    protocol: str = "cross",
    spent_s: float = 1.0,
    finished: int | None = -1,
) -> tuple[Prepared, Store]:
    """Store the results of fcus and pos on two datasets, with two seeds.

    The second seed's errors are 2 bpm larger. Each part shares a recording with every other.

    Args:
        folder: of the store.
        names: of the datasets.
        protocol: of the study.
        spent_s: what every trial took.
        finished: number of trials with a result; all but one by default.
    """
    data = {name: f"pure:/{index}" for index, name in enumerate(names)}
    study = StudyConfig(data=data, methods=["fcus", "pos"], seeds=2, protocol=protocol)
    trials, store = plan_trials(study), Store(folder)
    used = dict.fromkeys(p for t in trials for p in (*t.training, *t.tests))
    parts = {
        part: PartSurvey((part.title,), 1, fingerprints=(part.title, "shared")) for part in used
    }
    jobs = {trial: job_of(trial, study, parts) for trial in trials}
    for trial, job in list(jobs.items())[:finished]:
        tests = {
            key: _test(trial, part, names.index(part.dataset))
            for part, key in zip(trial.tests, job.tests, strict=True)
        }
        train_s = {str(epoch): spent_s * epoch for epoch in EPOCHS}
        timing = {"spent_s": spent_s, "train_s": train_s, "begun": f"day {spent_s}"}
        store.save(job, {"training": {"clips_per_epoch": 8}, "tests": tests, "timing": timing})
    return Prepared(study, parts, jobs), store


def _test(trial: Trial, part: Part, dataset: int) -> dict[str, Any]:
    rows = [
        (subject, 70.0, None if error is None else 70.0 + error + 2 * trial.seed)
        for subject, errors in ERRORS[dataset, part.kind].items()
        for error in errors
    ]
    subjects, true, predicted = (list(column) for column in zip(*rows, strict=True))
    windows = {}
    for epoch in EPOCHS if trial.each_epoch else EPOCHS[:1]:
        more = 4 * (EPOCHS[-1] - epoch) if trial.each_epoch else 0
        windows[str(epoch)] = {
            "record": subjects,
            "subject": subjects,
            "hr_true_bpm": true,
            "hr_pred_bpm": [None if bpm is None else bpm + more for bpm in predicted],
            "snr_db": [None] * len(rows),
        }
    recordings = {
        name: {"metadata": {"light": LIGHT[name]} if name in LIGHT else {}} for name in subjects
    }
    left_out = [{"recording": "r", "reason": "is dark", "method": False}]
    return {"windows": windows, "left_out": left_out, "recordings": recordings}
