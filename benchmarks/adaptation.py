"""Is the decision of `rppg train --adapt` right? `python -m benchmarks.adaptation [--quick]`.

Folders of training subjects of each synthetic domain, from two starts, are adapted to by four
settings, two of them forced: too many epochs at too high a rate. The decision reads no label; then
both networks are measured on validation subjects of the same domain. Each adaptation is kept in
`docs/results/adaptation.json` as it ends; an interrupted run goes on. `--quick`: one seed, small
folders, ten subjects to measure on, in a file beside it.
"""

import argparse
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rppg.adapt import CONFIDENCE, HELD_OUT, adapt
from rppg.atomic import atomic_path
from rppg.errors import InputError
from rppg.estimators.fcus import FcusEstimator, untrained
from rppg.evaluation import PreparedRecording, Protocol, measure, prepare
from rppg.models.checkpoint import load_checkpoint, save_checkpoint
from rppg.models.fcus import FcusNet
from rppg.models.patches import pool_patches
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import DOMAINS
from rppg.train.config import TrainConfig

PEOPLE = 60
"""Training subjects from which folders are drawn."""
SEEDS = (10, 11, 12)
"""The rule was chosen on folders drawn by seeds 0, 1 and 2."""
STARTS = ("shipped", "untrained")
OFF_BPM = 5.0


@dataclass(frozen=True)
class Setting:
    """How many recordings a folder holds, and what departs from the default training."""

    recordings: int
    changes: Mapping[str, Any]
    forced: bool = False


SETTINGS = {
    "8 recordings": Setting(8, {}),
    "20 recordings": Setting(20, {}),
    "8, six epochs, lr x10": Setting(8, {"epochs": 6, "lr": 0.1, "lr_physics": 0.1}, True),
    "8, eight epochs, lr x30, no levels": Setting(
        8,
        {
            "epochs": 8,
            "lr": 0.3,
            "lr_physics": 0.3,
            "mask": None,
            "smooth": None,
            "project": None,
        },
        True,
    ),
}


def main() -> None:
    """Adapt, measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="minutes: to see that it runs")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    name = "adaptation-quick.json" if options.quick else "adaptation.json"
    out = options.out or Path("docs/results") / name
    count, seeds = (10, SEEDS[:1]) if options.quick else (40, SEEDS)
    settings = {
        "measured_on": f"validation, {count} subjects",
        "confidence": CONFIDENCE,
        "held_out": round(HELD_OUT, 3),
        "shipped": _digest(load_checkpoint()[0]),
    }
    runs = _known(out, settings)
    for seed in seeds:
        for domain in DOMAINS.values():
            for start in STARTS:
                for label, setting in SETTINGS.items():
                    key = f"{domain.key}/{start}/{label}/{seed}"
                    if key not in runs and not (options.quick and setting.recordings > 8):
                        runs[key] = _run(domain.name, start, setting, seed, count)
                        print(key, runs[key], flush=True)
                        _write(out, settings, runs)
    _write(out, settings, runs)
    for group, row in _summary(runs).items():
        print(group, row)


def _run(domain: str, start: str, setting: Setting, seed: int, count: int) -> dict[str, Any]:
    """One adaptation: the decision, then the truth about it."""
    people = synthetic_recordings(domain, "train", PEOPLE)
    chosen = np.random.default_rng(seed).permutation(PEOPLE)[: setting.recordings]
    # what load_truth could give is out of reach
    recordings = [replace(people[i], load_truth=None) for i in sorted(chosen.tolist())]
    config = TrainConfig(seed=seed, data=(f"synthetic:{domain}",), **setting.changes)
    before = _errors(domain, start, count)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if start == "untrained":
            checkpoint = Path(folder) / "untrained.safetensors"
            save_checkpoint(checkpoint, untrained().net, {})
        try:
            result = adapt(config, start=checkpoint, recordings=recordings)
        except InputError as error:
            return {"refused": str(error), "start": before}
    evidence = result.evidence
    return {
        "start": before,
        "adapted": _measured(result.adapted, domain, count),
        "kept": "adapted" if evidence.better else "start",
        "gain": round(evidence.gain, 4),
        "gain_low": round(evidence.gain_low, 4),
        "held_out": len(evidence.names),
    }


@cache
def _errors(domain: str, start: str, count: int) -> dict[str, float]:
    net = untrained().net if start == "untrained" else load_checkpoint()[0]
    return _measured(net, domain, count)


def _measured(net: FcusNet, domain: str, count: int) -> dict[str, float]:
    """Mean absolute error in bpm, and share of windows off by more than `OFF_BPM`."""
    protocol, estimator = Protocol(), FcusEstimator(net)
    errors = np.concatenate(
        [
            np.abs(
                measure(estimator(t.frames, protocol.fps), protocol, valid=t.in_view).windows.hr_bpm
                - t.truth.windows.hr_bpm
            )
            for t in _trials(domain, count, net.config.grid)
        ]
    )
    return {
        "mae_bpm": round(float(np.mean(errors)), 3),
        "off": round(float(np.mean(errors > OFF_BPM)), 3),
    }


@cache
def _trials(domain: str, count: int, grid: int) -> tuple[PreparedRecording, ...]:
    """Prepared and pooled once: pooling is the same for every network of one grid."""
    found = []
    for recording in synthetic_recordings(domain, "validation", count):
        trial = prepare(recording, Protocol())
        frames = torch.from_numpy(trial.frames).permute(0, 3, 1, 2)[None]
        pooled = pool_patches(frames, grid)[0].permute(0, 2, 3, 1).contiguous().numpy()
        found.append(replace(trial, frames=pooled))
    return tuple(found)


def _summary(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Error rates of the decision over groups of adaptations."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for key, run in runs.items():
        domain, start, label, _ = key.split("/")
        kind = "forced" if SETTINGS[label].forced else "one epoch"
        for name in ("all", kind, label, start, domain):
            groups.setdefault(name, []).append(run)
    found = {}
    for name, chosen in groups.items():
        if decided := [run for run in chosen if "kept" in run]:
            found[name] = _rates(decided) | {"refused": len(chosen) - len(decided)}
    return found


def _rates(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    old = np.array([run["start"]["mae_bpm"] for run in runs])
    new = np.array([run["adapted"]["mae_bpm"] for run in runs])
    taken = np.array([run["kept"] == "adapted" for run in runs])
    kept = np.where(taken, new, old)
    row: dict[str, Any] = {"adaptations": len(runs), "taken": int(taken.sum())}
    for bpm in (0.1, 0.5):
        worse, better = new > old + bpm, new < old - bpm
        row |= {
            f"worse_by_{bpm}": int(worse.sum()),
            f"worse_by_{bpm}_and_taken": int((worse & taken).sum()),
            f"better_by_{bpm}": int(better.sum()),
            f"better_by_{bpm}_and_thrown_away": int((better & ~taken).sum()),
        }
    mean = {"always_old": old, "always_new": new, "kept": kept, "oracle": np.minimum(old, new)}
    return row | {f"mae_{key}": round(float(np.mean(value)), 3) for key, value in mean.items()}


def _digest(net: FcusNet) -> str:
    weights = b"".join(value.numpy().tobytes() for value in net.state_dict().values())
    return hashlib.sha256(weights).hexdigest()[:12]


def _known(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return dict(found["runs"]) if found["settings"] == settings else {}


def _write(path: Path, settings: Mapping[str, Any], runs: Mapping[str, Any]) -> None:
    document = {"settings": settings, "summary": _summary(runs), "runs": runs}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
