"""Whose pulse is called none, or unreliable: `python -m benchmarks.who_is_left_out`.

Takes living people of the five domains by skin type, and again with weaker pulses, a heart rate
that recovers from exercise, irregular beats, and slow hearts. Prints what share of each group's
recordings keep their place at `PULSE_SCORE`, and what share of the shipped network's right heart
rates count as reliable, and lists the groups that are left out; writes
`docs/results/who_is_left_out.json`. Measurements are stored by recording, so an interrupted
program continues.

Metrics, written before any run:

- Kept: the share of a group's recordings with a score of at least `PULSE_SCORE`.
- Reliable: of a group's 10 s windows whose heart rate is within 5 bpm of the truth, the share with
  a quality index of at least `RELIABLE`. Each window counts.
- A group's gap is its share less that of all living people of the same domains without options,
  as a mean over the domains that have the group, with equal weights. Its 95 % interval is a
  bootstrap over the subjects of each domain, in the group and among all at once.
- Claimed, for each of the two: no group is more than 10 points below the mean over the living, by
  the mean gap. Groups of fewer than `LEAST_SUBJECTS`, over all domains, are shown and not judged.

Groups by skin type are parts of the domain's own people, and few; the others are the same people
with another heart.
"""

import argparse
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import arguments, write_json
from benchmarks.study.output import Claim, print_claims, print_table
from benchmarks.study.recordings import (
    Condition,
    Measurement,
    measure_recordings,
    parse_with_recordings,
    recording_store,
)
from benchmarks.trials.key import code_digest
from benchmarks.trials.store import NEW
from rppg.estimators.find import load_estimator
from rppg.estimators.pulse_score import PULSE_SCORE, recording_score
from rppg.evaluation import Protocol
from rppg.evaluation.run import evaluate_recording
from rppg.models.checkpoint import SHIPPED
from rppg.signals import RELIABLE
from rppg.signals.quality import RIGHT_BPM
from rppg.synthetic.cache import PLAIN
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.variations.variation import Variation
from rppg.types import Recording

Array = NDArray[np.float64]

LARGEST_GAP = 0.10
"""Claimed of each group and both shares."""
LEAST_SUBJECTS = 8

ALL = "all living"
VARIATIONS: Mapping[str, Variation] = {
    ALL: PLAIN,
    "amplitude 0.001–0.002": Variation(amplitude=(0.001, 0.002)),
    "amplitude 0.002–0.004": Variation(amplitude=(0.002, 0.004)),
    "recovery": Variation(rhythm="recovery"),
    "irregular": Variation(rhythm="irregular"),
    "36–45 bpm": Variation(hr_bpm=(36.0, 45.0)),
}
"""The groups but for those by skin type. `ALL` has the domain's amplitude, 0.004–0.01."""
SHARES = {
    "kept": f"living recordings kept (score of at least {PULSE_SCORE:g})",
    "reliable": f"right windows called reliable (quality index of at least {RELIABLE:g})",
}
RESAMPLES = 2000


@dataclass(frozen=True)
class Counts:
    """For each subject of a domain, `(N,)`: how many of its units count, of how many."""

    counted: Array
    units: Array


@dataclass(frozen=True)
class Gap:
    """A group's share, and its distance from all living people of the same domains.

    Attributes:
        share, everyone: means over the domains that have the group.
        gap, low, high: `share - everyone` and its 95 % interval.
        subjects: number of the group's people with any unit, over the domains.
        by_domain: the group's share on each domain that has it.
    """

    share: float
    everyone: float
    gap: float
    low: float
    high: float
    subjects: int
    by_domain: Mapping[str, float]


def main(command_line: Sequence[str] | None = None) -> None:
    """Measure what is missing, print, write."""
    options = parse(command_line)
    conditions = {
        (domain, name): Condition(domain, options.split, options.subjects, variation)
        for domain in options.domains
        for name, variation in VARIATIONS.items()
    }
    found = measure_recordings(
        measure_recording,
        list(conditions.values()),
        recording_store("who_is_left_out", options.measurements),
        code(),
        jobs=options.jobs,
    )
    measured = {place: found[condition] for place, condition in conditions.items()}
    gaps = {share: gaps_of(measured, share) for share in SHARES}
    for share, title in SHARES.items():
        print_table(
            f"Share of {title}",
            ("group", "people", *options.domains, "mean", "all living", "gap (95 %), points"),
            [_row(name, gap, options.domains) for name, gap in gaps[share].items()],
        )
    claims = [judge(share, gaps[share], asked=not options.quick) for share in SHARES]
    print_claims(claims)
    for share, title in SHARES.items():
        for name in left_out(gaps[share]):
            print(f"left out, {title}: {name}, {_points(gaps[share][name])}")
    document = {
        "settings": {
            "split": options.split,
            "subjects": options.subjects,
            "domains": [DOMAINS[name].key for name in options.domains],
            "pulse_score": PULSE_SCORE,
            "reliable": RELIABLE,
        },
        "claims": [vars(claim) for claim in claims],
        "groups": {
            share: {name: _rounded(gap) for name, gap in of_share.items()}
            for share, of_share in gaps.items()
        },
        "left_out": {share: left_out(of_share) for share, of_share in gaps.items()},
    }
    write_json(options.out, document, allow_nan=False)
    print(f"\nwrote {options.out}")


def parse(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = arguments(__doc__, "who_is_left_out")
    parser.add_argument(
        "--measurements", type=Path, default=NEW, help="folder of the stored measurements"
    )
    return parse_with_recordings(parser, command_line, subjects=24, unit="group")


def code() -> str:
    """Return the digest of the code behind a measurement, and of the shipped network."""
    files = (
        "benchmarks/who_is_left_out.py",
        "rppg/evaluation/prepared_recording.py",
        "rppg/evaluation/run.py",
    )
    rooms = ("rppg/estimators", "rppg/models", "rppg/signals", "rppg/verification")
    weights = hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    return f"{code_digest(*files, *rooms)}-{weights[:12]}"


def measure_recording(recording: Recording) -> dict[str, Any]:
    """Return the score, and the shipped network's windows: true and estimated rate, quality."""
    outcome = evaluate_recording(recording, {"fcus": load_estimator()}, Protocol(), example=False)
    return {
        "subject": recording.subject,
        "skin_type": recording.metadata["skin_type"],
        "score": recording_score(recording.load_crops()),
        "true_bpm": _numbers([row.hr_true_bpm for row in outcome.windows]),
        "pred_bpm": _numbers([row.hr_pred_bpm for row in outcome.windows]),
        "quality": _numbers([row.quality for row in outcome.windows]),
    }


def counts(rows: Sequence[Measurement], share: str, skin_type: str | None = None) -> Counts:
    """Return what a share counts of each recording; with a skin type, only of its people."""
    counted, units = [], []
    for row in rows:
        if skin_type is not None and row["skin_type"] != skin_type:
            good = np.zeros(0, dtype=bool)
        elif share == "kept":
            good = np.array([row["score"] >= PULSE_SCORE])
        else:
            true, predicted, index = (
                np.array(row[name], dtype=np.float64)
                for name in ("true_bpm", "pred_bpm", "quality")
            )
            good = index[np.abs(predicted - true) <= RIGHT_BPM] >= RELIABLE
        counted.append(float(np.sum(good)))
        units.append(float(len(good)))
    return Counts(np.array(counted), np.array(units))


def gaps_of(
    measured: Mapping[tuple[str, str], Sequence[Measurement]], share: str
) -> dict[str, Gap]:
    """Return every group's gap in a share; `measured` is by domain and name in `VARIATIONS`."""
    domains = list(dict.fromkeys(domain for domain, _ in measured))
    everyone = {domain: counts(measured[domain, ALL], share) for domain in domains}
    groups = {
        name: {domain: counts(measured[domain, name], share) for domain in domains}
        for name in VARIATIONS
    }
    for skin in sorted({row["skin_type"] for d in domains for row in measured[d, ALL]}):
        groups[f"skin type {skin}"] = {
            domain: counts(measured[domain, ALL], share, skin) for domain in domains
        }
    return {name: find_gap(of_domain, everyone) for name, of_domain in groups.items()}


def find_gap(group: Mapping[str, Counts], everyone: Mapping[str, Counts], *, seed: int = 0) -> Gap:
    """Return a group's gap, from the counts by domain; NaN if no domain has the group."""
    rng = np.random.default_rng(seed)
    by_domain, all_of_domain, drawn = {}, [], []
    for domain, own in group.items():
        people = len(own.units)
        if not own.units.any() or not everyone[domain].units.any():
            continue
        weight = rng.multinomial(people, np.full(people, 1 / people), size=RESAMPLES)
        by_domain[domain] = float(_shares(own, np.ones((1, people)))[0])
        all_of_domain.append(float(_shares(everyone[domain], np.ones((1, people)))[0]))
        drawn.append(_shares(own, weight) - _shares(everyone[domain], weight))
    if not drawn:
        return Gap(*[float("nan")] * 5, 0, {})
    # A resample without any of the group says nothing of that domain.
    finite = np.isfinite(drawn)
    number = np.sum(finite, axis=0)
    gaps = np.sum(np.where(finite, drawn, 0.0), axis=0)[number > 0] / number[number > 0]
    low, high = np.percentile(gaps, [2.5, 97.5])
    own_mean, all_mean = np.mean(list(by_domain.values())), np.mean(all_of_domain)
    return Gap(
        share=float(own_mean),
        everyone=float(all_mean),
        gap=float(own_mean - all_mean),
        low=float(low),
        high=float(high),
        subjects=sum(int(np.sum(own.units > 0)) for own in group.values()),
        by_domain=by_domain,
    )


def left_out(gaps: Mapping[str, Gap]) -> list[str]:
    """Return the groups more than `LARGEST_GAP` below all living people, the lowest first."""
    judged = [name for name, gap in gaps.items() if gap.subjects >= LEAST_SUBJECTS]
    # Shares of small numbers are fractions: 0.9 - 1.0 is a little below -0.1.
    below = [name for name in judged if gaps[name].gap < -LARGEST_GAP - 1e-9]
    return sorted(below, key=lambda name: gaps[name].gap)


def judge(share: str, gaps: Mapping[str, Gap], *, asked: bool = True) -> Claim:
    """Return the claim on a share; `asked`: whether the study is large enough."""
    text = f"{share}: no group is more than {100 * LARGEST_GAP:.0f} points below all living people"
    judged = {
        name: gap for name, gap in gaps.items() if name != ALL and gap.subjects >= LEAST_SUBJECTS
    }
    if not judged:
        return Claim(text, f"no group of {LEAST_SUBJECTS} people", None)
    worst = min(judged, key=lambda name: judged[name].gap)
    found = f"lowest: {worst}, {_points(judged[worst])}"
    return Claim(text, found, not left_out(gaps) if asked else None)


def _shares(counts: Counts, weight: NDArray[Any]) -> Array:
    """Return the share of units that count, for each row of weights of the subjects."""
    units = weight @ counts.units
    return (weight @ counts.counted) / np.where(units > 0, units, np.nan)


def _row(name: str, gap: Gap, domains: Sequence[str]) -> list[str]:
    cells = [f"{100 * gap.by_domain[d]:.0f}" if d in gap.by_domain else "–" for d in domains]
    few = "" if gap.subjects >= LEAST_SUBJECTS else " (too few)"
    means = [f"{100 * gap.share:.0f}", f"{100 * gap.everyone:.0f}"]
    return [name, f"{gap.subjects}{few}", *cells, *means, "" if name == ALL else _points(gap)]


def _points(gap: Gap) -> str:
    return f"{100 * gap.gap:+.0f} ({100 * gap.low:+.0f} to {100 * gap.high:+.0f})"


def _rounded(gap: Gap) -> dict[str, Any]:
    """Return JSON values: shares with four decimals, null for those that aren't there."""
    values = {
        name: round(v, 4) if np.isfinite(v) else None
        for name, v in vars(gap).items()
        if name != "by_domain"
    }
    return {**values, "by_domain": {name: round(v, 4) for name, v in gap.by_domain.items()}}


def _numbers(values: NDArray[Any]) -> list[float | None]:
    return [round(float(v), 4) if np.isfinite(v) else None for v in values]


if __name__ == "__main__":
    main()
