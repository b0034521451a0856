"""Heart rate variability from video, beside the contact wave's: `python -m benchmarks.variability`.

Recordings of 60 s of validation people of each synthetic domain, by the shipped network and by POS:
RMSSD and SDNN of the beats of the filtered wave as they are (`raw`), and with the noise taken off
(`rppg.signals.variability_of_wave`, as `rppg predict` does). The truth is that of the contact
wave's beats. Prints for each how many recordings have a value, how many of the values are within
`CLOSE_MS`, the errors, and how many values' uncertainty covers the error. Writes
`docs/results/variability.json`.

Claims, written before the validation people were measured, for the shipped network on the clean
domains (`CLEAN`) together: no value at more than half of the recordings of RMSSD and of SDNN;
where there is a value, it is within `CLOSE_MS` of the contact wave's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure_domains import domain_arguments, measure_domains
from benchmarks.study.output import Claim, print_claims
from rppg.estimators.find import find_estimators
from rppg.estimators.stretches import BEAT_QUALITY
from rppg.evaluation import Protocol, measure
from rppg.predict import Prediction, predict_crops
from rppg.signals import (
    RateSeries,
    Variability,
    find_beats,
    local_rate_hz,
    resample,
    variability,
)
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import Domain
from rppg.types import Recording

METHODS = ("fcus", "pos")
DURATION_S = 60.0
CLOSE_MS = 10.0
CLEAN = ("lab", "webcam")
"""Domains with an uncompressed or lightly compressed face that sits still."""
PROTOCOL = replace(Protocol(), stride_s=1.0)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Values:
    """One method's RMSSD or SDNN of each recording, in ms; NaN where there is none."""

    true: Array
    raw: Array
    found: Array
    uncertainty: Array

    def row(self) -> dict[str, Any]:
        """Return what is printed and written."""
        known = np.isfinite(self.found)
        error = np.abs(self.found - self.true)[known]
        return {
            "recordings": len(self.true),
            "without_value": int(np.sum(~known)),
            "close": int(np.sum(error <= CLOSE_MS)),
            "covered": int(np.sum(error <= self.uncertainty[known])),
            "true_ms": _median(self.true),
            "error_ms": _median(error),
            "largest_error_ms": round(float(error.max()), 1) if len(error) else None,
            "uncertainty_ms": _median(self.uncertainty[known]),
            "raw_error_ms": _median(np.abs(self.raw - self.true)),
        }


def main() -> None:
    """Measure, print, write."""
    parser = domain_arguments(__doc__, "variability", subjects=10)
    parser.add_argument("--split", default="validation", choices=("train", "validation"))
    options = parser.parse_args()
    results: dict[str, Any] = {}

    def report(domain: Domain, rows: dict[str, Any]) -> None:
        results[domain.name] = rows
        for method, of_method in rows.items():
            for name, row in of_method.items():
                print(f"{domain.key:9} {method:5} {name:6} {_text(row)}", flush=True)

    measure_domains(
        options.out,
        {"subjects": options.subjects, "duration_s": DURATION_S, "split": options.split},
        lambda domain: measure_domain(
            synthetic_recordings(
                domain.name, options.split, options.subjects, duration_s=DURATION_S
            )
        ),
        again=options.again,
        report=report,
    )
    print_claims(judge({name: results[name]["fcus"] for name in CLEAN}))


def measure_domain(recordings: Sequence[Recording]) -> dict[str, Any]:
    """Return the rows of a domain, by method and by `rmssd` or `sdnn`."""
    truths = [contact_variability(recording) for recording in recordings]
    rows: dict[str, Any] = {}
    for method, estimator in find_estimators(methods=METHODS).items():
        found = [
            (truth, raw_variability(prediction), prediction.hrv)
            for recording, truth in zip(recordings, truths, strict=True)
            for prediction in [predict_crops(recording.load_crops(), estimator)]
            if truth is not None
        ]
        rows[method] = {name: _values(name, found).row() for name in ("rmssd", "sdnn")}
    return rows


def contact_variability(recording: Recording) -> Variability | None:
    """Return the variability of the contact wave's beats; None if it is undefined."""
    assert recording.load_truth is not None
    truth = recording.load_truth()
    grid_s = np.arange(truth.times_s[0], truth.times_s[-1], 1 / PROTOCOL.fps)
    measured = measure(resample(truth.bvp, truth.times_s, grid_s), PROTOCOL)
    return _of_beats(measured.bvp, measured.windows)


def raw_variability(prediction: Prediction) -> Variability | None:
    """Return the variability of the filtered wave's beats, noise and all."""
    return _of_beats(prediction.measured, prediction.rates)


def judge(rows: dict[str, Any]) -> list[Claim]:
    """Return the claims on the shipped network's rows, by domain."""
    claims = []
    for name in ("rmssd", "sdnn"):
        of_name = [row[name] for row in rows.values()]
        total, without, close = (
            sum(row[key] for row in of_name) for key in ("recordings", "without_value", "close")
        )
        claims += [
            Claim(
                f"{name}: at most half of {', '.join(CLEAN)} without a value",
                f"{without} of {total}",
                2 * without <= total,
            ),
            Claim(
                f"{name}: each value within {CLOSE_MS:g} ms of the contact wave's",
                f"{close} of {total - without}",
                close == total - without,
            ),
        ]
    return claims


def _of_beats(wave: Array, rates: RateSeries) -> Variability | None:
    rate_hz = local_rate_hz(rates, PROTOCOL.fps, len(wave), BEAT_QUALITY)
    found = variability(find_beats(wave, PROTOCOL.fps, rate_hz))
    return None if isinstance(found, str) else found


def _values(
    name: str, found: Sequence[tuple[Variability, Variability | None, Variability | None]]
) -> Values:
    def column(index: int, suffix: str) -> Array:
        values = [
            None if row[index] is None else getattr(row[index], name + suffix) for row in found
        ]
        return np.array([np.nan if value is None else value for value in values])

    return Values(
        true=column(0, "_ms"),
        raw=column(1, "_ms"),
        found=column(2, "_ms"),
        uncertainty=column(2, "_uncertainty_ms"),
    )


def _median(values: Array) -> float | None:
    finite = values[np.isfinite(values)]
    return round(float(np.median(finite)), 1) if len(finite) else None


def _text(row: dict[str, Any]) -> str:
    known = row["recordings"] - row["without_value"]
    text = f"{known:3} of {row['recordings']} have a value"
    if known:
        text += (
            f", {row['close']} within {CLOSE_MS:g} ms; error {row['error_ms']} ms (largest "
            f"{row['largest_error_ms']}), uncertainty {row['uncertainty_ms']} ms covers "
            f"{row['covered']}"
        )
    return f"{text}; raw error {row['raw_error_ms']} ms; truth {row['true_ms']} ms"


if __name__ == "__main__":
    main()
