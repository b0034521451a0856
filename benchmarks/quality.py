"""The quality index and the errors behind it: `python -m benchmarks.quality`.

Prints, for windows of 10 s binned by their quality index, their number, the share of right heart
rates (within 5 bpm) and the mean absolute error, and the area under the ROC curve of the index as a
detector of errors above 5 bpm. The windows of recordings without a pulse that count as reliable are
printed by domain, method and kind, and as a trade-off: at which share of the right windows kept,
for the index, for the index without the evidence from the video, and for the rule that POS agrees.
Prints last which claims hold. Writes `docs/results/quality_KINDS.json` and `.svg`. `--fit` first
prints weights for `rppg.signals.quality`, from training subjects.

`--kinds tuned` are those on which weights and features were chosen, on validation subjects;
`tested` are other kinds without a pulse, on test subjects. The claims are about `tested` and the
default network, and were written before those were opened:

- of the windows without a pulse at most 3 % count as reliable, with equal weights over kinds and
  domains, and at most 8 % of each kind on each domain;
- of the windows that are right to 5 bpm and reliable by the wave alone, at least 90 % are reliable.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

from benchmarks.baselines import classical_methods
from benchmarks.results import RESULTS, arguments, write_json
from benchmarks.study.output import Claim, print_claims, save_figure
from rppg.estimators.estimator import Estimator
from rppg.estimators.fcus import find_traces, untrained, wave_and_traces
from rppg.estimators.find import reference_estimator
from rppg.estimators.verified_rates import verify
from rppg.evaluation import Protocol, measure
from rppg.report.figure_style import in_house_style
from rppg.signals import (
    RELIABLE,
    resample,
    resample_frames,
    uniform_grid,
)
from rppg.signals.quality import RIGHT_BPM, verified_features
from rppg.synthetic.cache import PLAIN, synthetic_recordings
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.variations.draw import LIVING
from rppg.synthetic.variations.variation import TESTED_KINDS, TUNED_KINDS, Variation
from rppg.types import Recording
from rppg.video.threads import one_thread

Array = NDArray[np.float64]

BINS = np.linspace(0, 1, 11)
WINDOW_S, STRIDE_S = 10.0, 5.0
PROTOCOL = replace(Protocol(), window_s=WINDOW_S, stride_s=STRIDE_S)
KINDS = {"tuned": ("validation", TUNED_KINDS), "tested": ("test", TESTED_KINDS)}
"""Split and kinds without a pulse."""
CLAIMED, MOST_DEAD, MOST_DEAD_OF_A_KIND, LEAST_KEPT = "fcus", 0.03, 0.08, 0.9
PLAIN_DEAD_WEIGHT, DEAD_WEIGHT = 0.4, 3.0
"""Weight in the fit of all windows without a pulse of a domain and method, for the index from the
wave alone and for the one with evidence from the video; that of those with a pulse is 1."""
SIDE_WEIGHT, SIDE_BIAS = 3.5, 1.5
"""Weight of the difference between the sides of the face in place of the fitted one, and what is
added to the bias: chosen on validation subjects of `wild`, whose lamp is on one side."""
KEPT = (0.99, 0.95, 0.9, 0.8, 0.6, 0.4)
BOUNDS = ((0, None), (None, 0), (None, 0), (None, 0), *[(0, None)] * 6)
"""Of the weights: more evidence never lowers the index. Without them the fit takes a head that
moves for a sign of life."""


@dataclass(frozen=True)
class Windows:
    """Windows of one method on one domain's recordings of one kind.

    Attributes:
        domain: the domain's key.
        kind: `living`, or one without a pulse.
        method: the method's name.
        features: `(W, 10)` of the wave and of the evidence from the video.
        plain: `(W,)` quality index of the wave alone.
        quality: `(W,)` quality index with the evidence from the video.
        error_bpm: `(W,)` absolute errors; infinite without a pulse, where any rate is wrong.
        away_bpm: `(W,)` distance of the heart rate from that of POS.
    """

    domain: str
    kind: str
    method: str
    features: Array
    plain: Array
    quality: Array
    error_bpm: Array
    away_bpm: Array


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__, "quality")
    parser.set_defaults(out=None)
    parser.add_argument("--kinds", choices=tuple(KINDS), default="tuned")
    parser.add_argument("--subjects", type=int, default=40, help="subjects per domain and kind")
    parser.add_argument("--fit", action="store_true", help="fit to training subjects first")
    parser.add_argument("--training-subjects", type=int, default=16)
    parser.add_argument("--domains", nargs="+", default=list(DOMAINS), choices=list(DOMAINS))
    parser.add_argument("--methods", nargs="+", help="rows of the results; by default all")
    options = parser.parse_args()
    if options.fit:
        parts = collect(
            "train", TUNED_KINDS, options.training_subjects, options.domains, options.methods
        )
        for prefix, count, dead_weight in (
            ("", 4, PLAIN_DEAD_WEIGHT),
            ("VERIFIED_", 10, DEAD_WEIGHT),
        ):
            weights, bias = fit(parts, count, dead_weight)
            if count > 4:
                weights[-1], bias = SIDE_WEIGHT, bias + SIDE_BIAS
            values = tuple(round(float(w), 2) for w in weights)
            print(f"{prefix}WEIGHTS = {values}  {prefix}BIAS = {bias:.2f}")
    split, kinds = KINDS[options.kinds]
    parts = collect(split, kinds, options.subjects, options.domains, options.methods)
    living = [part for part in parts if part.kind == LIVING]
    dead = [part for part in parts if part.kind != LIVING]
    claims = judge(parts) if options.kinds == "tested" else []
    result: dict[str, Any] = {
        "settings": {
            "kinds": list(kinds),
            "split": split,
            "subjects": options.subjects,
            "window_s": WINDOW_S,
            "domains": options.domains,
        },
        "claims": [vars(claim) for claim in claims],
        "all": summary(living),
        "groups": {f"{p.domain}/{p.method}": summary([p]) for p in living},
        "reliable_without_a_pulse": {
            f"{p.domain}/{p.method}/{p.kind}": _mean(p.quality >= RELIABLE) for p in dead
        },
        "trade_off": {
            method: trade_off([part for part in parts if part.method == method])
            for method in dict.fromkeys(part.method for part in parts)
        },
    }
    for row in result["all"]["bins"]:
        print("{from:.1f}–{to:.1f}  n {windows:5d}  right {right}  MAE {mae_bpm}".format(**row))
    for name, group in {"all": result["all"], **result["groups"]}.items():
        print(name, {key: value for key, value in group.items() if key != "bins"})
    for name, share in result["reliable_without_a_pulse"].items():
        print("reliable without a pulse:", name, share)
    for method, rules in result["trade_off"].items():
        for rule, rows in rules.items():
            for row in rows:
                print(method, rule, row)
    if claims:
        print_claims(claims)
    out = options.out or RESULTS / f"quality_{options.kinds}.json"
    write_json(out, result)
    save_figure(draw(result["all"]["bins"]), out.with_suffix(".svg"))


def collect(
    split: str,
    kinds: Sequence[str],
    subjects: int,
    domains: Sequence[str],
    methods: Sequence[str] | None = None,
) -> list[Windows]:
    """Return the windows of methods on domains, with the pulse and without; POS is always one."""
    known = {"fcus": reference_estimator(), "untrained": untrained(), **classical_methods()}
    estimators = {name: known[name] for name in dict.fromkeys(["pos", *(methods or known)])}
    windows = []
    for domain in domains:
        for kind in (LIVING, *kinds):
            variation = PLAIN if kind == LIVING else Variation(dead=1.0, dead_kinds=(kind,))
            recordings = synthetic_recordings(
                domain, split, subjects, variation=variation, workers=1
            )
            parts: dict[str, list[tuple[Array, ...]]] = {method: [] for method in estimators}
            for recording in recordings:
                for method, part in _windows(recording, estimators).items():
                    parts[method].append(part)
            for method, part_list in parts.items():
                columns = (np.concatenate(column) for column in zip(*part_list, strict=True))
                windows.append(Windows(DOMAINS[domain].key, kind, method, *columns))
    return windows


def fit(parts: list[Windows], count: int, dead_weight: float) -> tuple[Array, float]:
    """Return weights and bias of a logistic regression on whether windows are right.

    Each domain and method has the same weight, and each kind without a pulse the same part of
    `dead_weight`. The features are the first `count`, each with a weight of a fixed sign.
    """
    x = np.concatenate([part.features[:, :count] for part in parts])
    right = np.concatenate([part.error_bpm for part in parts]) <= RIGHT_BPM
    weight = np.concatenate(
        [
            np.full(n, (1.0 if part.kind == LIVING else dead_weight / len(TUNED_KINDS)) / n)
            for part in parts
            for n in (len(part.error_bpm),)
        ]
    )
    defined = np.all(np.isfinite(x), axis=1)
    x, sign, weight = x[defined], np.where(right[defined], 1.0, -1.0), weight[defined]

    def loss(w: Array) -> float:
        return float(np.sum(weight * np.logaddexp(0, -sign * (x @ w[:-1] + w[-1]))))

    bounds = [*BOUNDS[:count], (None, None)]
    best = minimize(loss, np.zeros(count + 1), method="L-BFGS-B", bounds=bounds).x
    return best[:-1], float(best[-1])


def judge(parts: list[Windows]) -> list[Claim]:
    """Return which claims hold, for the default network."""
    own = [part for part in parts if part.method == CLAIMED]
    dead = [float(np.mean(part.quality >= RELIABLE)) for part in own if part.kind != LIVING]
    mean, most = float(np.mean(dead)), max(dead)
    good = [
        part.quality[(part.error_bpm <= RIGHT_BPM) & (part.plain >= RELIABLE)]
        for part in own
        if part.kind == LIVING
    ]
    kept = float(np.mean(np.concatenate(good) >= RELIABLE))
    return [
        Claim(
            f"windows without a pulse called reliable: at most {MOST_DEAD:.0%}",
            f"{mean:.1%}",
            mean <= MOST_DEAD,
        ),
        Claim(
            f"of each kind on each domain: at most {MOST_DEAD_OF_A_KIND:.0%}",
            f"highest {most:.1%}",
            most <= MOST_DEAD_OF_A_KIND,
        ),
        Claim(
            f"right windows, reliable by the wave alone, kept: at least {LEAST_KEPT:.0%}",
            f"{kept:.1%}",
            kept >= LEAST_KEPT,
        ),
    ]


def trade_off(parts: list[Windows]) -> dict[str, list[dict[str, float | None]]]:
    """Return, for each rule, rows of the share of right windows kept and of dead ones let through.

    The windows that count are those right to 5 bpm and reliable by the index of the wave alone.
    Those without a pulse have equal weights over domains and kinds; the worst of these is given.
    """
    scores = {
        "quality": [part.quality for part in parts],
        "quality of the wave alone": [part.plain for part in parts],
        "POS agrees": [np.where(part.plain >= RELIABLE, -part.away_bpm, -np.inf) for part in parts],
    }
    rows: dict[str, list[dict[str, float | None]]] = {}
    for rule, values in scores.items():
        good = np.concatenate(
            [
                score[(part.error_bpm <= RIGHT_BPM) & (part.plain >= RELIABLE)]
                for part, score in zip(parts, values, strict=True)
                if part.kind == LIVING
            ]
        )
        if len(good) == 0:
            rows[rule] = []
            continue
        thresholds = [float(np.quantile(good, 1 - kept)) for kept in KEPT]
        fixed = -RIGHT_BPM if rule == "POS agrees" else RELIABLE
        rows[rule] = []
        for threshold in [fixed, *([] if rule == "POS agrees" else thresholds)]:
            through = [
                float(np.mean(score >= threshold))
                for part, score in zip(parts, values, strict=True)
                if part.kind != LIVING
            ]
            rows[rule].append(
                {
                    "threshold": round(threshold, 3),
                    "kept": _mean(good >= threshold),
                    "dead": _mean(np.array(through)),
                    "worst": round(max(through), 3),
                }
            )
    return rows


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


def _windows(
    recording: Recording, estimators: dict[str, Estimator]
) -> dict[str, tuple[Array, ...]]:
    """Return one recording's columns of `Windows` by method; `pos` is the first method."""
    fps, crops = PROTOCOL.fps, recording.load_crops()
    grid_s = uniform_grid(crops.times_s, fps)
    frames = resample_frames(crops.frames, crops.times_s, grid_s)
    truth_bpm = None
    if recording.load_truth is not None:
        truth = recording.load_truth()
        label = resample(truth.bvp, truth.times_s, grid_s)
        truth_bpm = measure(label, PROTOCOL).windows.hr_bpm
    columns: dict[str, tuple[Array, ...]] = {}
    pos_bpm = np.zeros(0)
    with one_thread():
        reference = find_traces(reference_estimator(), frames, fps)
        for method, estimator in estimators.items():
            wave, traces = wave_and_traces(estimator, frames, fps)
            plain = measure(wave, PROTOCOL)
            rates = verify(plain, traces or reference, PROTOCOL).windows
            assert rates.features is not None and rates.evidence is not None
            if method == "pos":
                pos_bpm = rates.hr_bpm
            error = np.full(len(rates.hr_bpm), np.inf)
            if truth_bpm is not None:
                error = np.nan_to_num(np.abs(rates.hr_bpm - truth_bpm), nan=60.0)
            features = [rates.features, verified_features(rates.evidence)]
            columns[method] = (
                np.concatenate(features, axis=-1),
                plain.windows.quality,
                rates.quality,
                error,
                np.nan_to_num(np.abs(rates.hr_bpm - pos_bpm), nan=np.inf),
            )
    return columns


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
