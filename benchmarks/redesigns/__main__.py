"""Redesigns of smoothing and projection, screened: `python -m benchmarks.redesigns`.

Trains each redesign of `COMPARISONS` and its controls on 300 clips, FCUS-rPPG on `webcam` and
`wild`, Contrast-Phys on `lab` at 15 Hz, with three seeds. Prints SNR and error, and the redesigns
less their controls; writes `docs/results/redesigns.json`. Finished trainings are in that file, so
an interrupted program continues; delete it after a change of the code.

- `late_rho`: the smoother with half of its shipped radius, from the middle step on, while the
  learning rate falls to zero. Control: the same falling rate without smoother.
- `contrastive`: the projector with clips of faces observed as signal, so that it protects only
  directions in which the background dominates. Controls: as shipped, and no projector.
- `dead_gradients`: updates stay out of the span of the gradients of clips without a pulse, at
  batches of 8. Control: batches of 8 without.

The arm `untrained` takes part in no comparison; it is for scale.

Metrics, written before any run:

- SNR in dB and absolute error in bpm of 10 s windows, validation subjects only, as means over a
  subject's windows, then subjects; for FCUS-rPPG then over the five domains with equal weights. The
  peer is evaluated on `lab` alone, since 300 clips teach it nothing that carries over.
- A difference is paired by source and seed. The criterion is its mean in SNR, by method, with
  Student's 95 % interval over the pairs.
- A redesign is worth following where the mean is at least +1 dB (`follow`). It is stopped where
  the interval's upper end is below +1 dB: nothing of 1 dB is left (`stopped`). Between the two it
  is `open`. A training whose loss is not finite is left out with its partner.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

import rppg
from benchmarks.redesigns.arms import ARMS, COMPARISONS
from benchmarks.redesigns.evaluation import SPLIT
from benchmarks.redesigns.fcus import run_fcus
from benchmarks.redesigns.peer import run_peer
from benchmarks.results import arguments, markdown_table, saved_part, write_json
from benchmarks.study.statistics import Interval, student

FOLLOW_DB = 1.0
RUN: Mapping[str, Callable[..., dict[str, Any]]] = {"fcus": run_fcus, "peer": run_peer}
SOURCES = {"fcus": ("webcam", "wild"), "peer": ("lab",)}
METRICS = {"snr_db": "SNR, dB", "mae_bpm": "MAE, bpm"}

Trained = dict[str, dict[str, Any]]
"""Results by `key`."""


def main(command_line: Sequence[str] | None = None) -> None:
    """Train what is missing, print, write."""
    options = parse(command_line)
    torch.set_num_threads(1)
    settings = {
        "subjects": options.subjects,
        "validation_subjects": options.validation_subjects,
        "split": SPLIT,
    }
    trained: Trained = saved_part(options.out, "trained", settings)
    for seed in range(options.seeds):
        for method in options.methods:
            for source in options.sources or SOURCES[method]:
                for arm in options.arms:
                    name = key(method, source, seed, arm)
                    if name in trained:
                        continue
                    trained[name] = run(method, source, seed, arm, options)
                    write_json(options.out, document(settings, trained))
                    print(f"{name}: {trained[name]['seconds']:.0f} s", flush=True)
    write_json(options.out, document(settings, trained))
    print_report(trained)


def parse(command_line: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = arguments(__doc__, "redesigns")
    parser.add_argument("--methods", nargs="+", choices=tuple(RUN), default=tuple(RUN))
    parser.add_argument("--sources", nargs="+", metavar="DOMAIN", help="instead of the study's")
    parser.add_argument("--arms", nargs="+", choices=tuple(ARMS), default=tuple(ARMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--subjects", type=int, default=60, help="recordings to train on")
    parser.add_argument("--validation-subjects", type=int, default=12, help="of each domain")
    return parser.parse_args(command_line)


def key(method: str, source: str, seed: int, arm: str) -> str:
    """Return the name of a training."""
    return f"{method} {source} {seed} {arm}"


def run(
    method: str, source: str, seed: int, arm: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Return a training's result; `failed` if its loss was not finite."""
    began = time.monotonic()
    try:
        result = RUN[method](source, seed, arm, options.subjects, options.validation_subjects)
    except FloatingPointError as error:
        result = {"failed": str(error)}
    return {**result, "seconds": round(time.monotonic() - began, 1)}


def value(result: Mapping[str, Any] | None, metric: str) -> float | None:
    """Return a training's mean over domains; None if it failed or a domain has no value."""
    if result is None or "failed" in result:
        return None
    values = [domain[metric] for domain in result["domains"].values()]
    return None if None in values else sum(values) / len(values)


def differences(trained: Trained, method: str, arm: str, control: str, metric: str) -> list[float]:
    """Return an arm less its control, one for each source and seed that has both."""
    found = []
    for name, result in trained.items():
        of, source, seed, own = name.split()
        if (of, own) != (method, arm):
            continue
        ours = value(result, metric)
        theirs = value(trained.get(key(method, source, int(seed), control)), metric)
        if ours is not None and theirs is not None:
            found.append(ours - theirs)
    return found


def verdict(snr_db: Sequence[float]) -> str:
    """Return what differences in SNR mean for a redesign."""
    if len(snr_db) < 2:
        return "not measured"
    interval = student(snr_db)
    if interval.mean >= FOLLOW_DB:
        return "follow"
    return "stopped" if interval.high < FOLLOW_DB else "open"


def comparisons(trained: Trained) -> list[dict[str, Any]]:
    """Return every redesign less each of its controls, by method."""
    rows = []
    for method in RUN:
        for arm, control in COMPARISONS:
            found = {m: differences(trained, method, arm, control, m) for m in METRICS}
            rows.append(
                {
                    "method": method,
                    "arm": arm,
                    "control": control,
                    "pairs": len(found["snr_db"]),
                    **{m: vars(student(d)) if len(d) > 1 else None for m, d in found.items()},
                    "verdict": verdict(found["snr_db"]),
                }
            )
    return rows


def document(settings: Mapping[str, Any], trained: Trained) -> dict[str, Any]:
    """Return the JSON."""
    return {
        "settings": settings,
        "versions": {"rppg": rppg.__version__, "torch": torch.__version__},
        "threads": 1,
        "comparisons": comparisons(trained),
        "trained": trained,
    }


def print_report(trained: Trained) -> None:
    """Print means by method, source and arm, and the differences."""
    for metric, title in METRICS.items():
        print(f"\n{title}: mean over seeds\n")
        print(markdown_table(("method", "source", *ARMS), mean_rows(trained, metric)))
    print("\nRedesign less control: mean (95 %), over sources and seeds\n")
    rows = [
        (
            *(row[name] for name in ("method", "arm", "control", "pairs")),
            *("–" if row[m] is None else str(Interval(**row[m])) for m in METRICS),
            row["verdict"],
        )
        for row in comparisons(trained)
    ]
    print(markdown_table(("method", "arm", "less", "pairs", *METRICS.values(), "verdict"), rows))


def mean_rows(trained: Trained, metric: str) -> list[list[str]]:
    """Return the mean over seeds by method and source, with a column for each arm."""
    rows: dict[tuple[str, str], dict[str, list[float]]] = {}
    for name, result in trained.items():
        method, source, _, arm = name.split()
        found = value(result, metric)
        if found is not None:
            rows.setdefault((method, source), {}).setdefault(arm, []).append(found)
    return [
        [*of] + [f"{sum(v) / len(v):.2f}" if (v := by_arm.get(arm)) else "–" for arm in ARMS]
        for of, by_arm in rows.items()
    ]


if __name__ == "__main__":
    main()
