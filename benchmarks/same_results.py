"""Comparison of two trees' results, bit by bit: `python -m benchmarks.same_results OLD_TREE`.

Runs a fixed sample of small trials in the old tree and in this one, in separate processes on this
machine: a study of an epoch of FCUS on each domain, the untrained network, an epoch of
Contrast-Phys, and each classical method with and without the skin mask; and the benchmarks' own
trials, one of each kind. If all numbers are equal, it trains one of the kept trials once more, at
full size, which must give the stored heart rates (`--no-stored` leaves that out). Then it writes a
stamp to `runs/benchmarks/same_results.json`, which allows `python -m benchmarks.pack --rekey` to
keep the old code's trials as this code's.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.results import write_json
from benchmarks.study.from_study import KEPT
from benchmarks.study.kept_trials import read_packed
from benchmarks.trials.evaluation import CONTINUOUS, SNR
from benchmarks.trials.key import CODE_DIGESTS, ROOT
from benchmarks.trials.sample import run
from benchmarks.trials.store import NEW
from rppg.errors import InputError
from rppg.study.key import CODE_DIGESTS as STUDY_CODE
from rppg.study.store import PACKED

STAMP = NEW / "same_results.json"
SAMPLE = Path(__file__).parent / "trials" / "sample.py"
IGNORED = {"train_s", "cpu_s", "unit_s", "config", "timing", "identity", "key"}
"""Times differ from one training to the next. Settings may be renamed. Keys follow the code."""
ADDED = {CONTINUOUS, SNR, "checkpoint", "seen", "waves"}
"""What only new trees have: it is compared where both trees do."""

OF_STUDIES = "study/"
"""Before the kinds of code of `rppg.study.key`, among those of `benchmarks.trials.key`."""


KEPT_TRIAL = "webcam"
"""The domain of the kept trial that is trained anew, and its size."""
KEPT_SIZE = {"seeds": 1, "subjects": 60, "test_subjects": 40}


def main() -> None:
    """Compare, print, write the stamp."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.same_results", description=__doc__.splitlines()[0]
    )
    parser.add_argument("old_tree", type=Path, help="folder with the old code, such as a worktree")
    parser.add_argument("--no-stored", action="store_true", help="only compare the two trees")
    options = parser.parse_args()
    old, new = sample(options.old_tree.resolve()), sample(ROOT)
    shared = {name: new["results"].get(name) for name in old["results"]}  # a new method is left out
    differences = compare(old["results"], shared)
    for line in differences:
        print(line)
    if differences:
        raise SystemExit(f"{len(differences)} numbers differ; stored trials can't be kept")
    print(f"all {len(shared)} results of the sample are equal")
    if not options.no_stored:
        check_stored()
    write_stamp(old["code"])


def sample(tree: Path) -> dict[str, Any]:
    """Return the code digests and the sample's results of a tree."""
    done = subprocess.run(
        [sys.executable, "-P", str(SAMPLE)],  # -P: imports don't look beside the sample
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def compare(old: Any, new: Any, path: str = "") -> list[str]:
    """Return a line for each value that differs; all keys are compared exactly,
    but `IGNORED` ones, and `ADDED` ones that the old tree lacks.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        ignored = IGNORED | (ADDED - old.keys())
        keys = [key for key in {**old, **new} if key not in ignored]
        missing = object()
        return [
            line
            for key in keys
            for line in compare(old.get(key, missing), new.get(key, missing), f"{path}/{key}")
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for i, (a, b) in pairs for line in compare(a, b, f"{path}/{i}")]
    same = old == new or (old != old and new != new)  # noqa: PLR0124  (NaN)
    return [] if same else [f"{path}: {old} in the old tree, {new} in this one"]


def check_stored() -> None:
    """Check that a trial of the study `cross_domain`, trained anew, is the stored one.

    Raises:
        SystemExit: it isn't.
    """
    torch.set_num_threads(1)
    about = {"method": "fcus", "seed": 0}
    data = {KEPT_TRIAL: f"synthetic:{KEPT_TRIAL}"}
    (new,) = run({"methods": ("fcus",), "data": data, **KEPT_SIZE}).values()
    (stored,) = [
        result
        for result in read_packed(KEPT / "cross_domain" / PACKED)
        if about.items() <= result["trial"].items()
        and [part["dataset"] for part in result["trial"]["training"]] == [KEPT_TRIAL]
    ]
    before, after = (
        next(
            test["windows"]
            for test in tests
            if test["part"]["dataset"] == KEPT_TRIAL
            and not test["identity"]["protocol"]["continuity"]
        )
        for tests in (stored["tests"].values(), new["tests"])
    )
    if differences := compare(before, after):
        raise SystemExit(f"{len(differences)} values differ from the stored ones: {differences[0]}")
    print(f"fcus on {KEPT_TRIAL}, seed 0, at full size: as stored")


def code_digests() -> dict[str, str]:
    """Return the digests of this code, of the benchmarks' trials and of studies, by kind."""
    return {**CODE_DIGESTS, **{OF_STUDIES + kind: code for kind, code in STUDY_CODE.items()}}


def of_studies(same_as: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return the digests of studies alone."""
    return [
        {k.removeprefix(OF_STUDIES): v for k, v in code.items() if k.startswith(OF_STUDIES)}
        for code in same_as
    ]


def write_stamp(old_code: dict[str, str]) -> None:
    """Add the old tree's code to those that this tree's code is equal to."""
    same_as = [] if not STAMP.exists() else _same_as(json.loads(STAMP.read_text("utf-8")))
    if old_code not in same_as:
        same_as.append(old_code)
    write_json(STAMP, {"code": code_digests(), "same_as": same_as})
    print(f"wrote {STAMP}")


def read_stamp() -> list[dict[str, str]]:
    """Return the code digests of the trees that gave the same results as this code.

    Raises:
        InputError: there is no stamp of this code.
    """
    same_as = _same_as(json.loads(STAMP.read_text("utf-8"))) if STAMP.exists() else []
    if not same_as:
        raise InputError(
            f"{STAMP}: found no comparison of this code with an older one; "
            "run python -m benchmarks.same_results OLD_TREE first"
        )
    return same_as


def _same_as(stamp: dict[str, Any]) -> list[dict[str, str]]:
    return list(stamp["same_as"]) if stamp["code"] == code_digests() else []


if __name__ == "__main__":
    main()
