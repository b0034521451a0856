"""A fixed sample of small trials, printed as JSON; `benchmarks.same_results` compares two trees.

It is run by its path, with `PYTHONPATH` at a tree, and imports that tree's packages.
"""

import json
import sys
from typing import Any

from rppg.evaluation import Protocol, classical, measure, prepare
from rppg.methods import METHODS
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import DOMAINS

try:
    from benchmarks.trials.key import CODE_DIGESTS
    from benchmarks.trials.store import RUN
    from benchmarks.trials.trial import Trial
except ModuleNotFoundError:  # a tree in which trials were still called runs
    from benchmarks.claims.runs import CODE, LOADED, code_digest
    from benchmarks.claims.runs import Run as Trial
    from benchmarks.claims.stored import MAKERS as RUN

    cost = code_digest("benchmarks/claims/cost.py", *CODE["fcus"])
    CODE_DIGESTS = {**LOADED, "epoch_cost": cost}


def trial(method: str, source: str, target: str) -> Trial:
    """Return a small trial, on subjects that FCUS's measurements need anyway."""
    return Trial(
        method,
        source,
        subjects=3,
        minutes=0.0,
        split="validation",
        test_subjects=1,
        targets=(target,),
    )


TRIALS = [
    *(trial("fcus", name, name) for name in DOMAINS),
    trial("untrained", "", "lab"),
    trial("contrast-phys", "lab", "lab"),
]
"""One epoch of FCUS on each domain, the untrained network, and the first epoch of a peer."""


def main() -> None:
    """Print the digests of the tree's code, and the sample's results."""
    results = {item.title: RUN[item.kind](item) for item in TRIALS}
    for name in METHODS:
        for skin in (False, True):
            results[name + "+skin" * skin] = rates(name, skin=skin)
    sys.stdout.write("\n" + json.dumps({"code": CODE_DIGESTS, "results": results}) + "\n")


def rates(name: str, *, skin: bool) -> list[Any]:
    """Return the heart rates that a classical method finds in one recording's windows."""
    protocol = Protocol()
    item = prepare(synthetic_recordings("lab", "validation", 1)[0], protocol)
    bvp = classical(name, skin=skin)(item.frames, protocol.fps)
    return measure(bvp, protocol, valid=item.in_view).windows.hr_bpm.tolist()


if __name__ == "__main__":
    main()
