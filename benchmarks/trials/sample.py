"""A fixed sample of small trials, printed as JSON; `benchmarks.same_results` compares two trees.

It is run by its path, with `PYTHONPATH` at a tree, and imports that tree's code. So it uses few of
its names.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.trials.key import CODE_DIGESTS
from benchmarks.trials.store import RUN
from benchmarks.trials.trial_settings import Trial
from rppg.methods import METHODS
from rppg.study.config import StudyConfig
from rppg.study.key import CODE_DIGESTS as STUDY_CODE
from rppg.study.run import prepare, run_missing
from rppg.study.store import Store
from rppg.synthetic.domains import DOMAINS

CLASSICAL = (*METHODS, *(f"{name}+skin" for name in METHODS))
SIZE = {"seeds": 1, "subjects": 3, "test_subjects": 1}
STUDIES: Mapping[str, Mapping[str, Any]] = {
    "all": {"methods": ("fcus",), "data": {name: f"synthetic:{name}" for name in DOMAINS}},
    "lab": {
        "methods": ("untrained", "constant", "contrast-phys", *CLASSICAL),
        "data": {"lab": "synthetic:lab"},
        "settings": {"contrast-phys": {"epochs": 1}},
    },
    "continuity": {
        "methods": ("untrained", "pos"),
        "data": {"mobile": "synthetic:mobile"},
        "evaluation": {"continuity": True},
    },
}
"""An epoch of FCUS on each domain and of a peer, the untrained network, each classical method."""
TRIALS = [
    Trial(
        method,
        source,
        arm=arm,
        dead=dead,
        subjects=6,
        clips=4,
        split="validation",
        test_subjects=1,
        targets=("lab",),
    )
    for method, source, arm, dead in (
        ("pos+skin+verified", "", "", 0.0),
        ("fcus", "lab", "", 0.0),
        ("fcus", "lab", "new", 0.5),
        ("fcus", "lab", "old", 0.5),
        ("contrast-phys", "lab", "mask", 0.3),
    )
]
"""One of each kind of the benchmarks' own, and the two masks."""


def run(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stored results of a small study, by the trial's title."""
    prepared = prepare(StudyConfig.model_validate({**SIZE, **fields}), lambda line: None)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        run_missing(prepared, store, report=lambda line: None)
        results = {trial.title: store.load(job) for trial, job in prepared.jobs.items()}
    return {
        title: {**result, "tests": list(result["tests"].values())}
        for title, result in results.items()
        if result is not None
    }


def main() -> None:
    """Print the digests of the tree's code, and the sample's results."""
    results = {name: run(fields) for name, fields in STUDIES.items()}
    results["trials"] = {item.title: RUN[item.kind](item) for item in TRIALS}
    code = {**CODE_DIGESTS, **{f"study/{kind}": text for kind, text in STUDY_CODE.items()}}
    sys.stdout.write("\n" + json.dumps({"code": code, "results": results}) + "\n")


if __name__ == "__main__":
    main()
