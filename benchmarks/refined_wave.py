"""Correlation of the pulse wave before and after refining: `python -m benchmarks.refined_wave`.

The shipped network's wave on validation subjects of each synthetic domain, before and after
`rppg.signals.refine` as `rppg predict` applies it. Prints the median correlation with the contact
BVP in 10 s windows at the best lag within ±0.2 s, that of the best sine of constant rate, and how
often the wave's is higher. Writes `docs/results/refined_wave.json`.
"""

from typing import Any

import numpy as np

from benchmarks.measure_domains import domain_arguments, measure_domains
from rppg.estimators.find import load_estimator
from rppg.evaluation.waveform import lagged_correlation, sine_correlation
from rppg.predict import Prediction, predict_crops
from rppg.signals import bandpass, heart_rate_bpm, resample, sliding_windows
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import Domain
from rppg.types import Recording

FPS = 30.0


def main() -> None:
    """Measure, print, write."""
    options = domain_arguments(__doc__, "refined_wave", subjects=40).parse_args()
    settings = {"subjects": options.subjects, "window_s": 10.0, "split": "validation"}

    def report(domain: Domain, row: dict[str, Any]) -> None:
        print(domain.key, "  ".join(f"{name} {value}" for name, value in row.items()), flush=True)

    measure_domains(
        options.out,
        settings,
        lambda domain: measure(synthetic_recordings(domain.name, "validation", options.subjects)),
        again=options.again,
        report=report,
    )


def measure(recordings: list[Recording]) -> dict[str, float]:
    """Return median correlations, and the share of windows above the best sine."""
    estimator = load_estimator()
    scores = np.array(
        [
            row
            for recording in recordings
            for row in correlations(
                recording, predict_crops(recording.load_crops(), estimator), 10.0
            )
        ]
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
    recording: Recording, prediction: Prediction, window_s: float | None = None
) -> list[tuple[float, float, float]]:
    """Return correlations with the contact BVP: of the measured wave, the refined one, a sine.

    Args:
        window_s: one row per window of this length; None: one row for the whole recording.
    """
    assert recording.load_truth is not None
    truth = recording.load_truth()
    contact = bandpass(resample(truth.bvp, truth.times_s, prediction.times_s), FPS)
    length_s = window_s or len(prediction.times_s) / FPS
    windows = [
        sliding_windows(wave, FPS, length_s=length_s, stride_s=length_s)[1]
        for wave in (contact, prediction.measured, prediction.bvp)
    ]
    return [
        (
            lagged_correlation(label, measured, FPS),
            lagged_correlation(label, refined, FPS),
            sine_correlation(label, FPS, float(heart_rate_bpm(label, FPS))),
        )
        for label, measured, refined in zip(*windows, strict=True)
    ]


if __name__ == "__main__":
    main()
