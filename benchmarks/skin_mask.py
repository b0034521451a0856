"""Does a skin mask help the classical methods? `python -m benchmarks.skin_mask`.

Validation subjects of the synthetic domains. Prints each method's mean absolute error in 10 s
windows on the mean of the face's ellipse and on the mean of its skin, and the mask's less the
ellipse's with a 95 % interval over subjects (negative: the mask helps); writes
`docs/results/skin_mask.json`.
"""

import argparse
import json
from pathlib import Path

from rppg.atomic import atomic_path
from rppg.evaluation import classical, evaluate
from rppg.evaluation.results import paired_difference
from rppg.methods import METHODS
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import DOMAINS


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("docs/results/skin_mask.json"))
    options = parser.parse_args()
    results = {}
    for domain in DOMAINS.values():
        recordings = synthetic_recordings(domain.name, "validation", options.subjects)
        ways = {name: classical(name) for name in METHODS}
        ways |= {f"{name}, skin": classical(name, skin=True) for name in METHODS}
        found = evaluate(recordings, ways)
        scores = {score.method: score for score in found.summary()}
        rows = {}
        for name in METHODS:
            gain = paired_difference(found, found.datasets[0], f"{name}, skin", name)
            rows[name] = {
                "ellipse_mae_bpm": round(scores[name].mae_bpm.value, 3),
                "skin_mae_bpm": round(scores[f"{name}, skin"].mae_bpm.value, 3),
                "skin_less_ellipse_bpm": [
                    round(v, 3) for v in (gain.mean_bpm, gain.low_bpm, gain.high_bpm)
                ],
                "ellipse_snr_db": round(scores[name].snr_db.value, 3),
                "skin_snr_db": round(scores[f"{name}, skin"].snr_db.value, 3),
            }
        results[domain.key] = rows
        print(domain.key)
        for name, row in rows.items():
            mean, low, high = row["skin_less_ellipse_bpm"]
            print(
                f"  {name:6} {row['ellipse_mae_bpm']:6.2f} → {row['skin_mae_bpm']:6.2f} bpm "
                f"({mean:+.2f}, {low:+.2f} to {high:+.2f}), SNR {row['ellipse_snr_db']:+.2f} → "
                f"{row['skin_snr_db']:+.2f} dB",
                flush=True,
            )
    with atomic_path(options.out) as temporary:
        settings = {"subjects": options.subjects, "split": "validation", "window_s": 10.0}
        text = json.dumps({"settings": settings, "domains": results}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
