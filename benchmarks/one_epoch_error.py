"""Errors after one epoch on one domain, for new subjects: `python -m benchmarks.one_epoch_error`.

Runs the demo (`rppg demo`) with several seeds. Prints, for each domain and method, the median over
seeds of the mean absolute error in 10 s windows, and the lowest and highest. Writes
`docs/results/one_epoch_error.json`. These are test subjects: nothing is tuned on these numbers.
"""

import statistics
import tempfile
from pathlib import Path

from benchmarks.results import arguments, markdown_table, write_json
from rppg.demo import demo


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__, "one_epoch_error")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    errors: dict[str, dict[str, list[float]]] = {}
    gains = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            result = demo(Path(folder), seed=seed)
        for score in result.evaluation.summary():
            methods = errors.setdefault(score.dataset, {})
            methods.setdefault(score.method, []).append(round(score.mae_bpm.value, 3))
        gain = result.gain
        gains.append([round(v, 3) for v in (gain.mean_bpm, gain.low_bpm, gain.high_bpm)])
        print(f"seed {seed}: trained minus untrained, own domain {gains[-1]}", flush=True)
    datasets = list(errors)
    rows = [
        [method, *(_cell(errors[dataset][method]) for dataset in datasets)]
        for method in errors[datasets[0]]
    ]
    print(markdown_table(["method", *datasets], rows))
    document = {"mae_bpm": errors, "trained_less_untrained": gains, "seeds": options.seeds}
    write_json(options.out, document)


def _cell(values: list[float]) -> str:
    median = f"{statistics.median(values):.2f}"
    if max(values) == min(values):
        return median
    return f"{median} ({min(values):.2f}–{max(values):.2f})"


if __name__ == "__main__":
    main()
