"""What refining the pulse wave is worth: `python -m benchmarks.refined_wave`.

The shipped network's wave on validation subjects of each synthetic domain, before and after
`rppg.signals.refine` as `rppg predict` applies it: median correlation with the contact BVP in 10 s
windows at the best lag within ±0.2 s, beside that of the best sine of constant rate, and how often
the wave is above it. Writes `docs/results/refined_wave.json`.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kept import measure_domains
from rppg.estimators.find import load_estimator
from rppg.evaluation import Estimator
from rppg.evaluation.waveform import lagged_correlation, sine_correlation
from rppg.predict import predict_crops
from rppg.signals import bandpass, heart_rate_bpm, resample, sliding_windows
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import Domain
from rppg.types import Recording

FPS = 30.0


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path("docs/results/refined_wave.json"))
    parser.add_argument("--again", action="store_true", help="measure all anew")
    options = parser.parse_args()
    settings = {"subjects": options.subjects, "window_s": 10.0, "split": "validation"}

    def tell(domain: Domain, row: dict[str, Any]) -> None:
        print(domain.key, "  ".join(f"{name} {value}" for name, value in row.items()), flush=True)

    measure_domains(
        options.out,
        settings,
        lambda domain: measure(synthetic_recordings(domain.name, "validation", options.subjects)),
        again=options.again,
        tell=tell,
    )


def measure(recordings: list[Recording]) -> dict[str, float]:
    """Median correlations, and the share of windows above the best sine."""
    estimator = load_estimator()
    scores = np.array(
        [row for recording in recordings for row in correlations(recording, estimator, 10.0)]
    )
    measured, refined, sine = scores.T
    return {
        "measured": round(float(np.median(measured)), 3),
        "refined": round(float(np.median(refined)), 3),
        "sine": round(float(np.median(sine)), 3),
        "measured_above_sine": round(float(np.mean(measured > sine)), 3),
        "refined_above_sine": round(float(np.mean(refined > sine)), 3),
    }


def correlations(
    recording: Recording, estimator: Estimator, window_s: float | None = None
) -> list[tuple[float, float, float]]:
    """Of each window (None: of the whole): the measured wave's correlation, the refined one's, the
    best sine's."""
    assert recording.load_truth is not None
    found, truth = predict_crops(recording.load_crops(), estimator), recording.load_truth()
    contact = bandpass(resample(truth.bvp, truth.times_s, found.times_s), FPS)
    length_s = window_s or len(found.times_s) / FPS
    cut = [
        sliding_windows(wave, FPS, length_s=length_s, stride_s=length_s)[1]
        for wave in (contact, found.measured, found.bvp)
    ]
    return [
        (
            lagged_correlation(label, measured, FPS),
            lagged_correlation(label, refined, FPS),
            sine_correlation(label, FPS, float(heart_rate_bpm(label, FPS))),
        )
        for label, measured, refined in zip(*cut, strict=True)
    ]


if __name__ == "__main__":
    main()
