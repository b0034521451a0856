"""A fixed sample of small trials, printed as JSON; `benchmarks.same_results` compares two trees.

It is run by its path, with `PYTHONPATH` at a tree, and imports that tree's benchmarks. So it uses
few of their names.
"""

import json
import sys

from rppg.methods import METHODS
from rppg.synthetic.domains import DOMAINS

try:
    from benchmarks.trials.key import CODE_DIGESTS
    from benchmarks.trials.store import RUN
    from benchmarks.trials.trial_settings import CLASSICAL, Trial
except ModuleNotFoundError:  # a tree in which trials were still called runs
    from benchmarks.claims.runs import CODE, LOADED, code_digest
    from benchmarks.claims.runs import Run as Trial
    from benchmarks.claims.stored import MAKERS as RUN

    cost = code_digest("benchmarks/claims/cost.py", *CODE["fcus"])
    CLASSICAL, CODE_DIGESTS = tuple(METHODS), {**LOADED, "epoch_cost": cost}


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
    *(trial(name, "", "lab") for name in CLASSICAL),
    trial("untrained", "", "lab"),
    *(trial("fcus", name, name) for name in DOMAINS),
    trial("contrast-phys", "lab", "lab"),
]
"""One epoch of FCUS on each domain, the untrained network, the first epoch of a peer, and each
classical method."""


def main() -> None:
    """Print the digests of the tree's code, and the sample's results."""
    results = {item.title: RUN[item.kind](item) for item in TRIALS}
    sys.stdout.write("\n" + json.dumps({"code": CODE_DIGESTS, "results": results}) + "\n")


if __name__ == "__main__":
    main()
