"""The quality index and the errors behind it: `python -m benchmarks.quality`.

Prints, for windows of 10 s binned by their quality index, their number, the share of right heart
rates (within 5 bpm) and the mean absolute error. Prints the area under the ROC curve of the index
as a detector of errors above 5 bpm, and the share of windows that count as reliable when the same
subjects are rendered without a pulse. Validation subjects; writes `docs/results/quality.json` and
`quality.svg`. `--fit` first prints weights for `rppg.signals.quality`, from training subjects.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

from benchmarks.baselines import classical_methods
from benchmarks.results import arguments, write_json
from rppg.atomic import atomic_path
from rppg.estimators.fcus import untrained
from rppg.estimators.find import load_estimator
from rppg.evaluation import Protocol, measure
from rppg.report.figure_style import in_house_style
from rppg.signals import (
    RELIABLE,
    heart_rate_bpm,
    quality,
    quality_evidence,
    resample,
    resample_frames,
    sliding_windows,
    uniform_grid,
)
from rppg.signals.quality import RIGHT_BPM
from rppg.synthetic.cache import SPLITS, synthetic_recordings
from rppg.synthetic.domains import DOMAINS, Domain
from rppg.synthetic.subjects import draw_subject, render_crops
from rppg.types import FaceCrops, Pulse

Array = NDArray[np.float64]
Estimators = dict[str, Callable[[NDArray[np.float32], float], Array]]

BINS = np.linspace(0, 1, 11)
WINDOW_S, STRIDE_S = 10.0, 5.0
PULSELESS_WEIGHT = 1 / 3


@dataclass(frozen=True)
class Windows:
    """Windows of one method on one domain.

    Attributes:
        domain: the domain's key.
        method: the method's name.
        evidence: `(W, 3)`.
        quality: `(W,)`.
        error_bpm: `(W,)` absolute errors; infinite without a pulse, where any rate is wrong.
    """

    domain: str
    method: str
    evidence: Array
    quality: Array
    error_bpm: Array


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__, "quality")
    parser.add_argument("--subjects", type=int, default=40, help="validation subjects per domain")
    parser.add_argument("--fit", action="store_true", help="fit to training subjects first")
    parser.add_argument("--training-subjects", type=int, default=80)
    options = parser.parse_args()
    if options.fit:
        weights, bias = fit(collect("train", options.training_subjects))
        print("WEIGHTS =", tuple(round(float(w), 2) for w in weights), " BIAS =", round(bias, 2))
    parts = collect("validation", options.subjects)
    pulse = [part for part in parts if np.all(np.isfinite(part.error_bpm))]
    without = [part for part in parts if not np.all(np.isfinite(part.error_bpm))]
    result: dict[str, Any] = {
        "settings": {"split": "validation", "subjects": options.subjects, "window_s": WINDOW_S},
        "all": summary(pulse),
        "groups": {f"{p.domain}/{p.method}": summary([p]) for p in pulse},
        "reliable_without_a_pulse": {
            f"{p.domain}/{p.method}": round(float(np.mean(p.quality >= RELIABLE)), 3)
            for p in without
        },
    }
    for row in result["all"]["bins"]:
        print("{from:.1f}–{to:.1f}  n {windows:5d}  right {right}  MAE {mae_bpm}".format(**row))
    for name, group in {"all": result["all"], **result["groups"]}.items():
        totals = {key: value for key, value in group.items() if key != "bins"}
        print(name, totals, "without a pulse", result["reliable_without_a_pulse"].get(name, ""))
    write_json(options.out, result)
    with atomic_path(options.out.with_suffix(".svg")) as temporary:
        draw(result["all"]["bins"]).savefig(temporary, metadata={"Date": None})


def collect(split: str, subjects: int) -> list[Windows]:
    """Return the windows of every method on every domain, with the pulse and without."""
    estimators: Estimators = {"fcus": load_estimator(), "untrained": untrained()}
    estimators |= classical_methods()
    windows = []
    for domain in DOMAINS.values():
        recordings = synthetic_recordings(domain.name, split, subjects)
        rows: dict[tuple[str, bool], list[tuple[Array, Array, Array]]] = {}
        for number, recording in enumerate(recordings, SPLITS[split]):
            assert recording.load_truth is not None
            truth = recording.load_truth()
            pulseless = render_crops(_subject(domain, number), pulse_gain=0.0)
            for crops, has_pulse in ((recording.load_crops(), True), (pulseless, False)):
                for method, estimator in estimators.items():
                    part = _windows(crops, truth if has_pulse else None, estimator)
                    rows.setdefault((method, has_pulse), []).append(part)
        for (method, _), parts in rows.items():
            columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
            windows.append(Windows(domain.key, method, *columns))
    return windows


def fit(parts: list[Windows]) -> tuple[Array, float]:
    """Return weights and bias of a logistic regression on whether windows are right.

    Each part has the same weight, those without a pulse a third of it.
    """
    x = np.concatenate([part.evidence for part in parts])
    right = np.concatenate([part.error_bpm for part in parts]) <= RIGHT_BPM
    weight = np.concatenate(
        [
            np.full(n, (1.0 if np.all(np.isfinite(part.error_bpm)) else PULSELESS_WEIGHT) / n)
            for part in parts
            for n in (len(part.error_bpm),)
        ]
    )
    defined = np.all(np.isfinite(x), axis=1)
    x, sign, weight = x[defined], np.where(right[defined], 1.0, -1.0), weight[defined]

    def loss(w: Array) -> float:
        return float(np.sum(weight * np.logaddexp(0, -sign * (x @ w[:-1] + w[-1]))))

    best = minimize(loss, np.zeros(x.shape[1] + 1), method="BFGS").x
    return best[:-1], float(best[-1])


def summary(parts: list[Windows]) -> dict[str, Any]:
    """Return calibration by bin, area under the ROC curve, and errors by reliability."""
    index = np.concatenate([part.quality for part in parts])
    error = np.concatenate([part.error_bpm for part in parts])
    wrong = error > RIGHT_BPM
    rows = []
    for low, high in pairwise(BINS):
        inside = (index >= low) & ((index < high) | (high == 1))
        rows.append(
            {
                "from": round(float(low), 1),
                "to": round(float(high), 1),
                "windows": int(np.sum(inside)),
                "share": _mean(inside),
                "right": _mean(~wrong[inside]),
                "mae_bpm": _mean(error[inside]),
                "quality": _mean(index[inside]),
            }
        )
    over = index >= RELIABLE
    return {
        "auc": _auc(-index, wrong),
        "wrong": _mean(wrong),
        "reliable": _mean(over),
        "wrong_if_reliable": _mean(wrong[over]),
        "wrong_if_not": _mean(wrong[~over]),
        "mae_if_reliable_bpm": _mean(error[over]),
        "mae_if_not_bpm": _mean(error[~over]),
        "bins": rows,
    }


@in_house_style
def draw(rows: list[dict[str, Any]]) -> Figure:
    """Draw the share of right heart rates, and the mean absolute error, by quality."""
    filled = [row for row in rows if row["windows"]]
    x = [row["quality"] for row in filled]
    figure = Figure(figsize=(7.5, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    left.plot(x, [row["right"] for row in filled], "o-", color="#0072B2")
    left.set(xlabel="quality", ylabel="share within 5 bpm", xlim=(0, 1), ylim=(0, 1))
    right.plot(x, [row["mae_bpm"] for row in filled], "o-", color="#D55E00")
    right.axvline(RELIABLE, color="0.7", linewidth=1)
    right.set(xlabel="quality", ylabel="mean absolute error (bpm)", xlim=(0, 1), ylim=(0, None))
    return figure


def _subject(domain: Domain, number: int) -> Any:
    return draw_subject(domain, number, 20.0)


def _windows(crops: FaceCrops, truth: Pulse | None, estimator: Any) -> tuple[Array, Array, Array]:
    """Return evidence, quality and error of one recording's windows."""
    protocol = Protocol()
    grid_s = uniform_grid(crops.times_s, protocol.fps)
    frames = resample_frames(crops.frames, crops.times_s, grid_s)

    def cut(wave: Array) -> Array:
        clean = measure(wave, protocol).bvp
        return sliding_windows(clean, protocol.fps, length_s=WINDOW_S, stride_s=STRIDE_S)[1]

    bvp = cut(estimator(frames, protocol.fps))
    error = np.full(len(bvp), np.inf)
    if truth is not None:
        label = cut(resample(truth.bvp, truth.times_s, grid_s))
        difference = heart_rate_bpm(bvp, protocol.fps) - heart_rate_bpm(label, protocol.fps)
        error = np.nan_to_num(np.abs(difference), nan=60.0)
    return quality_evidence(bvp, protocol.fps), quality(bvp, protocol.fps), error


def _auc(score: Array, positive: NDArray[np.bool_]) -> float | None:
    """Return the probability that a positive scores above a negative (Mann–Whitney)."""
    n, m = int(np.sum(positive)), int(np.sum(~positive))
    if n == 0 or m == 0:
        return None
    return round(float((np.sum(rankdata(score)[positive]) - n * (n + 1) / 2) / (n * m)), 3)


def _mean(values: NDArray[Any]) -> float | None:
    return round(float(np.mean(values)), 3) if len(values) else None


if __name__ == "__main__":
    main()
