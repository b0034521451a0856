"""Decisions of `rppg train --adapt`, right and wrong: `python -m benchmarks.adaptation`.

Adapts to folders of training subjects of each synthetic domain, from two starts, with four
settings. Two of the settings are forced failures: too many epochs at too high a rate. The decision
reads no label; afterwards both networks, and POS and CHROM with and without the skin mask, are
measured on validation subjects of the same domain. Writes `docs/results/adaptation.json` after each
adaptation, so an interrupted program continues. `--quick`: one seed, small folders, ten subjects to
measure on, in `adaptation-quick.json`.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import RESULTS, arguments, saved_part, write_json
from benchmarks.trials.evaluation import pool_frames
from rppg.adapt import CONFIDENCE, HELD_OUT, adapt
from rppg.errors import InputError
from rppg.estimators.fcus import FcusEstimator, untrained
from rppg.estimators.find import find_estimator
from rppg.evaluation import (
    Estimator,
    PreparedRecording,
    Protocol,
    measure,
    prepare,
)
from rppg.models.checkpoint import load_checkpoint, save_checkpoint
from rppg.models.fcus import FcusNet
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import DOMAINS
from rppg.train.config import TrainConfig

SUBJECTS = 60
"""Training subjects from which folders are drawn."""
SEEDS = (10, 11, 12)
"""The rule was chosen on folders drawn by seeds 0, 1 and 2."""
STARTS = ("shipped", "untrained")
OFF_BPM = 5.0
BASELINES = ("pos", "pos+skin", "chrom", "chrom+skin")


@dataclass(frozen=True)
class Setting:
    """The number of recordings in a folder, and the differences to the default training."""

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
    parser = arguments(__doc__, "adaptation")
    parser.add_argument("--quick", action="store_true", help="minutes: to see that it works")
    options = parser.parse_args()
    out = options.out
    if options.quick and out == parser.get_default("out"):
        out = RESULTS / "adaptation-quick.json"
    count, seeds = (10, SEEDS[:1]) if options.quick else (40, SEEDS)
    settings = {
        "measured_on": f"validation, {count} subjects",
        "confidence": CONFIDENCE,
        "held_out": round(HELD_OUT, 3),
        "shipped": _digest(load_checkpoint()[0]),
    }
    adaptations = saved_part(out, "runs", settings)
    for seed in seeds:
        for domain in DOMAINS.values():
            for start in STARTS:
                for label, setting in SETTINGS.items():
                    key = f"{domain.key}/{start}/{label}/{seed}"
                    if key in adaptations or (options.quick and setting.recordings > 8):
                        continue
                    adaptations[key] = _adapt(domain.name, start, setting, seed, count)
                    print(key, adaptations[key], flush=True)
                    _write(out, settings, adaptations)
    baselines = {domain.key: _baselines(domain.name, count) for domain in DOMAINS.values()}
    _write(out, settings, adaptations, baselines)
    for group, row in _summary(adaptations).items():
        print(group, row)
    for key, row in baselines.items():
        print(key, row)


def _adapt(domain: str, start: str, setting: Setting, seed: int, count: int) -> dict[str, Any]:
    """Adapt; return the decision, and the errors of both networks."""
    subjects = synthetic_recordings(domain, "train", SUBJECTS)
    chosen = np.random.default_rng(seed).permutation(SUBJECTS)[: setting.recordings]
    # the adaptation can't read the ground truth
    recordings = [replace(subjects[i], load_truth=None) for i in sorted(chosen.tolist())]
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
        "adapted": _measured(FcusEstimator(result.adapted), domain, count),
        "kept": "adapted" if evidence.better else "start",
        "gain": round(evidence.gain, 4),
        "gain_low": round(evidence.gain_low, 4),
        "held_out": len(evidence.names),
    }


@cache
def _errors(domain: str, start: str, count: int) -> dict[str, float]:
    net = untrained().net if start == "untrained" else load_checkpoint()[0]
    return _measured(FcusEstimator(net), domain, count)


def _baselines(domain: str, count: int) -> dict[str, dict[str, float]]:
    """Return the errors of POS and CHROM, with and without the skin mask."""
    return {name: _measured(find_estimator(name), domain, count) for name in BASELINES}


def _measured(estimator: Estimator, domain: str, count: int) -> dict[str, float]:
    """Return the mean absolute error in bpm, and the share of windows off by over `OFF_BPM`.

    A network gets frames that are pooled already, once for all networks of its grid.
    """
    protocol = Protocol()
    grid = estimator.net.config.grid if isinstance(estimator, FcusEstimator) else None
    errors = np.concatenate(
        [
            np.abs(
                measure(estimator(t.frames, protocol.fps), protocol, valid=t.in_view).windows.hr_bpm
                - t.truth.windows.hr_bpm
            )
            for t in _prepared(domain, count, grid)
        ]
    )
    return {
        "mae_bpm": round(float(np.mean(errors)), 3),
        "off": round(float(np.mean(errors > OFF_BPM)), 3),
    }


def _prepared(domain: str, count: int, grid: int | None) -> Iterable[PreparedRecording]:
    if grid is not None:
        return _pooled(domain, count, grid)
    recordings = synthetic_recordings(domain, "validation", count)
    return (prepare(recording, Protocol()) for recording in recordings)


@cache
def _pooled(domain: str, count: int, grid: int) -> tuple[PreparedRecording, ...]:
    return tuple(pool_frames(item, grid) for item in _prepared(domain, count, None))


def _summary(adaptations: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the decision's error rates over groups of adaptations."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for key, adaptation in adaptations.items():
        domain, start, label, _ = key.split("/")
        kind = "forced" if SETTINGS[label].forced else "one epoch"
        for name in ("all", kind, label, start, domain):
            groups.setdefault(name, []).append(adaptation)
    summary = {}
    for name, chosen in groups.items():
        if decided := [adaptation for adaptation in chosen if "kept" in adaptation]:
            summary[name] = _rates(decided) | {"refused": len(chosen) - len(decided)}
    return summary


def _rates(adaptations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    old = np.array([adaptation["start"]["mae_bpm"] for adaptation in adaptations])
    new = np.array([adaptation["adapted"]["mae_bpm"] for adaptation in adaptations])
    taken = np.array([adaptation["kept"] == "adapted" for adaptation in adaptations])
    kept = np.where(taken, new, old)
    row: dict[str, Any] = {"adaptations": len(adaptations), "taken": int(taken.sum())}
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


def _write(
    path: Path,
    settings: Mapping[str, Any],
    adaptations: Mapping[str, Any],
    baselines: Mapping[str, Any] | None = None,
) -> None:
    document = {"settings": settings, "summary": _summary(adaptations)}
    document |= {"baselines": baselines} if baselines else {}
    write_json(path, {**document, "runs": adaptations})


if __name__ == "__main__":
    main()
