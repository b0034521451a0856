"""Errors on video files in the layouts of public datasets: `python -m benchmarks.layouts`.

Validation subjects of each synthetic domain, rendered as videos in the layout of the public dataset
that the domain imitates, then opened, checked and evaluated like that dataset: decoded, with faces
detected and tracked. Prints, for each layout, the mean absolute error of every method in 10 s
windows. Writes `docs/results/layouts.json` after each domain, so an interrupted program continues
(`--again` starts from scratch).
"""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.baselines import classical_methods
from benchmarks.measure_domains import domain_arguments, measure_domains
from rppg.data.check import check_recording
from rppg.data.specs import open_dataset
from rppg.data.synthetic_dataset import default_layout, write_dataset
from rppg.estimators.fcus import untrained
from rppg.estimators.find import load_estimator
from rppg.evaluation import evaluate
from rppg.synthetic.cache import SPLITS
from rppg.synthetic.domains import Domain


def main() -> None:
    """Measure, print, write."""
    parser = domain_arguments(__doc__, "layouts", subjects=8)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each video")
    options = parser.parse_args()
    settings = {
        "split": "validation",
        "subjects": options.subjects,
        "seconds": options.seconds,
        "window_s": 10.0,
        "classical": list(classical_methods()),
    }

    def report(domain: Domain, row: dict[str, Any]) -> None:
        cells = "  ".join(f"{name} {mae:5.2f} ± {se:.2f}" for name, (mae, se) in row["mae"].items())
        print(
            f"{row['layout']:10} {domain.key:9} {row['recordings']:3d} recordings, "
            f"{row['windows']:3d} windows, {row['defects']} defects  {cells}",
            flush=True,
        )

    measure_domains(
        options.out,
        settings,
        lambda domain: measure(domain, options.subjects, options.seconds),
        again=options.again,
        report=report,
    )


def measure(domain: Domain, subjects: int, seconds: float) -> dict[str, Any]:
    """Return errors in bpm with standard errors by method, and the shipped network's by recording.

    Also the number of recordings, windows and defects.
    """
    methods = {
        **classical_methods(),
        "untrained": untrained(),
        "fcus": load_estimator(),
    }
    with tempfile.TemporaryDirectory() as folder:
        spec = write_dataset(
            domain.name,
            Path(folder) / "data",
            subjects=subjects,
            first=SPLITS["validation"],
            duration_s=seconds,
        )
        recordings = open_dataset(spec, split="test", subjects=subjects)
        defects = sum(len(check_recording(recording)) for recording in recordings)
        evaluation = evaluate(recordings, methods)
    scores = evaluation.summary()
    shipped: dict[str, list[float]] = {}
    for window in evaluation.windows:
        if window.method == "fcus":
            shipped.setdefault(window.record, []).append(abs(window.error_bpm))
    return {
        "layout": default_layout(domain.name),
        "recordings": len(recordings),
        "defects": defects,
        "windows": scores[0].n,
        "mae": {s.method: (round(s.mae_bpm.value, 3), round(s.mae_bpm.se, 3)) for s in scores},
        "fcus_by_record": {name: round(sum(es) / len(es), 2) for name, es in shipped.items()},
    }


if __name__ == "__main__":
    main()
