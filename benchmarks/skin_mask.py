"""Effect of the skin mask on the classical methods: `python -m benchmarks.skin_mask`.

Validation subjects of the synthetic domains. Prints each method's mean absolute error in 10 s
windows on the mean of the face's ellipse and on the mean of its skin, and their difference with a
95 % interval over subjects (negative: the mask helps). Writes `docs/results/skin_mask.json`.
"""

from typing import Any

from benchmarks.measure_domains import domain_arguments, measure_domains
from rppg.evaluation import classical, evaluate
from rppg.evaluation.results import paired_difference
from rppg.methods import METHODS
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import Domain


def main() -> None:
    """Measure, print, write."""
    options = domain_arguments(__doc__, "skin_mask", subjects=40).parse_args()
    settings = {"subjects": options.subjects, "split": "validation", "window_s": 10.0}
    measure_domains(
        options.out,
        settings,
        lambda domain: measure(domain, options.subjects),
        again=options.again,
        report=report,
    )


def measure(domain: Domain, subjects: int) -> dict[str, dict[str, Any]]:
    """Return errors and signal-to-noise ratios with and without the mask, by method."""
    recordings = synthetic_recordings(domain.name, "validation", subjects)
    methods = {name: classical(name) for name in METHODS}
    methods |= {f"{name}, skin": classical(name, skin=True) for name in METHODS}
    evaluation = evaluate(recordings, methods)
    scores = {score.method: score for score in evaluation.summary()}
    rows = {}
    for name in METHODS:
        gain = paired_difference(evaluation, evaluation.datasets[0], f"{name}, skin", name)
        rows[name] = {
            "ellipse_mae_bpm": round(scores[name].mae_bpm.value, 3),
            "skin_mae_bpm": round(scores[f"{name}, skin"].mae_bpm.value, 3),
            "skin_less_ellipse_bpm": [
                round(v, 3) for v in (gain.mean_bpm, gain.low_bpm, gain.high_bpm)
            ],
            "ellipse_snr_db": round(scores[name].snr_db.value, 3),
            "skin_snr_db": round(scores[f"{name}, skin"].snr_db.value, 3),
        }
    return rows


def report(domain: Domain, rows: dict[str, dict[str, Any]]) -> None:
    """Print a domain's rows."""
    print(domain.key)
    for name, row in rows.items():
        mean, low, high = row["skin_less_ellipse_bpm"]
        print(
            f"  {name:6} {row['ellipse_mae_bpm']:6.2f} → {row['skin_mae_bpm']:6.2f} bpm "
            f"({mean:+.2f}, {low:+.2f} to {high:+.2f}), SNR {row['ellipse_snr_db']:+.2f} → "
            f"{row['skin_snr_db']:+.2f} dB",
            flush=True,
        )


if __name__ == "__main__":
    main()
