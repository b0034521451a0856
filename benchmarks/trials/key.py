"""What identifies a trial's result: its settings, and the code that computed it.

A stored result counts only if both are today's. Results that a change of the code left equal, bit
by bit, are kept by `python -m benchmarks.pack --rekey`.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from benchmarks.trials.trial_settings import Trial, peer_config, train_config
from rppg.code_digest import digest_code
from rppg.synthetic.domains import DOMAINS

ROOT = Path(__file__).parents[2]

EVALUATION = (
    "benchmarks/trials/evaluation.py",
    "rppg/evaluation/prepared_recording.py",
    "rppg/signals",
)
FCUS = (
    "benchmarks/trials/diagnosis.py",
    "benchmarks/trials/fcus.py",
    "gradreg",
    "rppg/estimators",
    "rppg/models",
    "rppg/train",
)
GRADREG_MASK = (
    "gradreg/mask",
    "gradreg/priors",
    "gradreg/regularize.py",
    "gradreg/wrapper.py",
)
CODE = {
    "fcus": (*EVALUATION, *FCUS),
    "contaminated": (
        *EVALUATION,
        *FCUS,
        "benchmarks/trials/contaminated.py",
        "rppg/verification",
    ),
    "contaminated_peer": (
        *EVALUATION,
        "benchmarks/trials/contaminated.py",
        "benchmarks/trials/contaminated_peer.py",
        *GRADREG_MASK,
        "rppg/estimators/fcus.py",
        "rppg/estimators/overlapping_clips.py",
        "rppg/estimators/physnet.py",
        "rppg/estimators/pulse_score.py",
        "rppg/models",
        "rppg/peers",
        "rppg/train/clips.py",
        "rppg/train/loop.py",
        "rppg/train/verified.py",
        "rppg/verification",
    ),
    "filtered": (
        *EVALUATION,
        "benchmarks/trials/filtered.py",
        "rppg/estimators",
        "rppg/methods",
        "rppg/models",
        "rppg/verification",
    ),
    "epoch_cost": ("benchmarks/trials/epoch_cost.py", *FCUS),
}
"""The files and folders that results of each kind depend on. The synthetic domains aren't among
them: a domain has a version of its own."""

NOT_IN_TRAINING = ("diagnostics", "integrations", "testing")
"""Folders of `gradreg` on which no result depends, although `gradreg` is listed."""


def code_digest(*paths: str) -> str:
    """Return letters that change with the code in files and folders, but not with its comments."""
    found = digest_code((ROOT / path for path in paths), root=ROOT, without=NOT_IN_TRAINING)
    return found[:12]


CODE_DIGESTS = {kind: code_digest(*paths) for kind, paths in CODE.items()}
"""Of the code that this process loaded: files edited later change nothing here."""


def key(trial: Trial) -> str:
    """Return letters that identify a trial's settings and the versions of its domains.

    Epochs are left out: FCUS trains at one constant rate, so they only say how far it goes.
    """
    config: dict[str, Any] = {}
    if trial.kind in ("fcus", "contaminated"):
        config = train_config(trial).model_dump(mode="json", exclude={"epochs"})
    elif trial.kind == "contaminated_peer":
        config = peer_config(trial).model_dump(mode="json", exclude={"epochs"})
        config |= {"clips": trial.clips, "curve_subjects": trial.curve_subjects}
    domains = [DOMAINS[name].key for name in trial.targets]
    parts = {
        "method": trial.method,
        "config": config,
        "evaluated": [trial.split, trial.test_subjects, *domains],
        "source": DOMAINS[trial.source].key if trial.trained else "",
    }
    if trial.arm:
        parts["arm"] = trial.arm
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
