"""One epoch on one camera, new people on all: `python -m benchmarks.first_epoch`.

Runs the demo (`rppg demo`) for several seeds. Prints, for each domain and method, the median over
seeds of the mean absolute error in 10 s windows, and the lowest and highest seed; writes
`docs/results/first_epoch.json`. Test subjects; nothing is tuned on what it prints.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from rppg.atomic import atomic_path
from rppg.demo import demo


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("docs/results/first_epoch.json"))
    options = parser.parse_args()
    errors: dict[str, dict[str, list[float]]] = {}
    gains = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            found = demo(Path(folder), seed=seed)
        for score in found.evaluation.summary():
            methods = errors.setdefault(score.dataset, {})
            methods.setdefault(score.method, []).append(round(score.mae_bpm.value, 3))
        gain = found.gain
        gains.append([round(v, 3) for v in (gain.mean_bpm, gain.low_bpm, gain.high_bpm)])
        print(f"seed {seed}: trained less untrained on the training camera {gains[-1]}", flush=True)
    datasets = list(errors)
    print("| method | " + " | ".join(datasets) + " |")
    print("| --- |" + " --- |" * len(datasets))
    for method in errors[datasets[0]]:
        cells = [_cell(errors[dataset][method]) for dataset in datasets]
        print(f"| {method} | " + " | ".join(cells) + " |")
    with atomic_path(options.out) as temporary:
        result = {"mae_bpm": errors, "trained_less_untrained": gains, "seeds": options.seeds}
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _cell(values: list[float]) -> str:
    median = f"{statistics.median(values):.2f}"
    if max(values) == min(values):
        return median
    return f"{median} ({min(values):.2f}–{max(values):.2f})"


if __name__ == "__main__":
    main()
