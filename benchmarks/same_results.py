"""Comparison of two trees' results, bit by bit: `python -m benchmarks.same_results OLD_TREE`.

Runs a fixed sample of small trials in the old tree and in this one, in separate processes on this
machine: an epoch of FCUS on each domain, the untrained network, an epoch of Contrast-Phys, and each
classical method with and without the skin mask. If all numbers are equal, it trains FCUS once more
at full size and checks that the error lies within the stored seeds' (`--no-stored` leaves that
out). Then it writes a stamp to `runs/benchmarks/same_results.json`, which allows
`python -m benchmarks.pack --rekey` to keep the old code's trials as this code's.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.results import write_json
from benchmarks.study.statistics import by_subject, mae
from benchmarks.trials.evaluation import CONTINUOUS, SNR
from benchmarks.trials.fcus import run_fcus
from benchmarks.trials.key import CODE_DIGESTS, ROOT
from benchmarks.trials.store import NEW, packed_results, trial_store
from benchmarks.trials.trial_settings import Trial
from rppg.errors import InputError

STAMP = NEW / "same_results.json"
SAMPLE = Path(__file__).parent / "trials" / "sample.py"
IGNORED = {"train_s", "cpu_s", "unit_s", "config"}
"""Times differ from one training to the next. Settings may be renamed."""
ADDED = {CONTINUOUS, SNR}
"""Columns that only new trees have: they are compared where both trees do."""

FULL_SIZE = Trial("fcus", "webcam", test_subjects=8, targets=("webcam",))
"""Trained at full size, and compared with the stored seeds on the same subjects."""
STORED = {
    name: value
    for name, value in Trial("fcus", "webcam").to_json().items()
    if name not in ("seed", "epochs", "minutes", "curve_subjects", "published")
}


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
    """Check that a new training's error lies within the stored seeds' errors.

    Raises:
        SystemExit: it doesn't.
    """
    torch.set_num_threads(1)
    point = run_fcus(FULL_SIZE)["points"][0]
    subjects = list(by_subject(point, FULL_SIZE.targets))
    (target,) = FULL_SIZE.targets
    error = mae(point, target)
    stored = [
        mae(result["points"][0], target, subjects)
        for result in packed_results(trial_store().packed).values()
        if "arm" not in result["trial"]
        and all(result["trial"][name] == value for name, value in STORED.items())
    ]
    seeds = ", ".join(f"{value:.3f}" for value in stored)
    print(f"{FULL_SIZE.title}: {error:.3f} bpm; stored seeds: {seeds}")
    if not min(stored) <= error <= max(stored):
        raise SystemExit("the error lies outside of the stored seeds' errors")


def write_stamp(old_code: dict[str, str]) -> None:
    """Add the old tree's code to those that this tree's code is equal to."""
    same_as = [] if not STAMP.exists() else _same_as(json.loads(STAMP.read_text("utf-8")))
    if old_code not in same_as:
        same_as.append(old_code)
    write_json(STAMP, {"code": CODE_DIGESTS, "same_as": same_as})
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
    return list(stamp["same_as"]) if stamp["code"] == CODE_DIGESTS else []


if __name__ == "__main__":
    main()
