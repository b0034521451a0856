"""Continuity between windows, what it gains and costs: `python -m benchmarks.continuity`.

Validation subjects of the synthetic domains: recordings of 20 s, of 60 s, and of 60 s in which the
heart recovers from exercise. Prints each method's mean absolute error in 10 s windows, each alone
and with continuity; their difference with a 95 % interval over subjects (negative: continuity
helps); and the windows that are at least 3 bpm better or worse. Writes
`docs/results/continuity.json`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import arguments, write_json
from rppg.estimators.estimator import Estimator
from rppg.estimators.find import find_estimators
from rppg.evaluation import Protocol, measure, metrics, prepare
from rppg.synthetic.cache import PLAIN, synthetic_recordings
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.variations.variation import Variation
from rppg.types import Recording
from rppg.video.threads import one_thread

METHODS = ("fcus", "untrained", "pos+skin", "chrom+skin")
NOTICEABLE_BPM = 3.0

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Condition:
    """Recordings of a domain: how many, how long, and with which options."""

    domain: str
    subjects: int
    duration_s: float
    variation: Variation = PLAIN

    @property
    def title(self) -> str:
        """Its name in the results."""
        options = f"?{self.variation.text}" if self.variation.text else ""
        return f"{DOMAINS[self.domain].key}{options}, {self.duration_s:g} s"


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__, "continuity")
    parser.add_argument("--subjects", type=int, default=16, help="of 20 s; half as many of 60 s")
    options = parser.parse_args()
    conditions = [Condition(name, options.subjects, 20.0) for name in DOMAINS]
    conditions += [
        Condition(name, options.subjects // 2, 60.0, variation)
        for variation in (PLAIN, Variation(rhythm="recovery"))
        for name in ("webcam", "wild")
    ]
    estimators = find_estimators(methods=METHODS)
    results: dict[str, dict[str, Any]] = {}
    for condition in conditions:
        print(f"{condition.title}, {condition.subjects} subjects")
        recordings = synthetic_recordings(
            condition.domain,
            "validation",
            condition.subjects,
            variation=condition.variation,
            duration_s=condition.duration_s,
        )
        results[condition.title] = {
            method: compare(recordings, estimator, method)
            for method, estimator in estimators.items()
        }
    settings = {"subjects": options.subjects, "split": "validation", "window_s": 10.0}
    write_json(options.out, {"settings": settings, "conditions": results})


def compare(recordings: Sequence[Recording], estimator: Estimator, method: str) -> dict[str, Any]:
    """Return and print a method's errors without and with continuity."""
    protocol = Protocol()
    alone: list[Array] = []
    together: list[Array] = []
    subjects: list[str] = []
    for recording in recordings:
        item = prepare(recording, protocol)
        with one_thread():
            bvp = np.asarray(estimator(item.frames, protocol.fps), dtype=np.float64)
        true = item.truth.windows.hr_bpm
        for errors, continuity in ((alone, False), (together, True)):
            found = measure(bvp, replace(protocol, continuity=continuity), valid=item.in_view)
            errors.append(np.abs(found.windows.hr_bpm - true))
        subjects += [recording.subject] * len(true)
    before, after = np.concatenate(alone), np.concatenate(together)
    gain = metrics.mean(after - before, subjects)
    row = {
        "mae_bpm": round(float(np.nanmean(before)), 3),
        "continuity_mae_bpm": round(float(np.nanmean(after)), 3),
        "difference_bpm": [round(v, 3) for v in (gain.value, gain.low, gain.high)],
        "better": int(np.sum(after < before - NOTICEABLE_BPM)),
        "worse": int(np.sum(after > before + NOTICEABLE_BPM)),
        "windows": int(np.sum(np.isfinite(after))),
    }
    mean, low, high = row["difference_bpm"]
    print(
        f"  {method:10} {row['mae_bpm']:6.2f} → {row['continuity_mae_bpm']:6.2f} bpm "
        f"({mean:+.2f}, {low:+.2f} to {high:+.2f}), {row['better']} windows better and "
        f"{row['worse']} worse of {row['windows']}",
        flush=True,
    )
    return row


if __name__ == "__main__":
    main()
