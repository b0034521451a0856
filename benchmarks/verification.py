"""Telling recordings with a pulse from those without: `python -m benchmarks.verification`.

Scores the clips of living recordings and of each kind without a pulse, on the five domains, by the
reference estimator, which is untrained. Prints areas under the ROC curve, the shares kept and
rejected at `PULSE_SCORE`, the same for simpler scores, how often replayed recordings and those with
other skin in the picture count as living, and which claims hold; writes
`docs/results/verification_KINDS.json`. Scores are stored by recording, so an interrupted program
continues.

Metrics, written before any run:

- The area under the ROC curve (AUC): how probable it is that a living recording scores above one
  without a pulse; ties count half. By recording, the score is the mean over its clips, as in
  `recording_score`; by clip, each clip counts. Of each kind against the same living recordings, and
  the mean over kinds. Its 95 % interval is a bootstrap over subjects, each with all its recordings.
- Shares at `PULSE_SCORE` are by recording. The simpler scores have no such threshold: theirs is the
  one at which they keep as many living recordings.
- `replay` shows a living person on a screen. It has a pulse, so whether it counts as living has no
  target; the row is for information. Recordings with other skin (`beside`) are of living people.

`--kinds tuned` are those by which score and threshold were chosen; the claims are about `tested`.
The kind `wall` has no face to be found: its crops are cut from a given box. A video of a wall has
no crops at all with `rppg predict`.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.results import RESULTS, arguments, write_json
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
from rppg.estimators.pulse_score import PULSE_SCORE, scored_clips, scoring_estimator
from rppg.synthetic.cache import PLAIN
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.variations.draw import LIVING
from rppg.synthetic.variations.variation import BESIDE, TESTED_KINDS, TUNED_KINDS, Variation
from rppg.types import Recording
from rppg.video.threads import one_thread

Array = NDArray[np.float64]

LEAST_AUC = {"lab": 0.95, "webcam": 0.95, "wild": 0.95, "codec": 0.90, "mobile": 0.90}
"""Claimed by recording, mean over the tested kinds."""
LEAST_KIND_AUC = 0.85
"""Claimed by recording, for each tested kind on each domain."""

KINDS = {"tuned": TUNED_KINDS, "tested": TESTED_KINDS}
LINE = "line"
SCORES = {
    LINE: "the score: share, agreement of the regions, no light and no motion",
    "share": "the share of the wave's power in its line and the line's double, alone",
    "weak_amplitude": "weak amplitude: the negative root mean square of the wave",
}
INFORMATION: Mapping[str, Variation] = {
    "replay": Variation(replay=True),
    **{f"beside {name}": Variation(beside=name) for name in BESIDE},
}
RESAMPLES = 2000
CODE = code_digest(
    "benchmarks/verification.py", "rppg/estimators", "rppg/models", "rppg/signals",
    "rppg/verification",
)  # fmt: skip


@dataclass(frozen=True)
class Auc:
    """An area under the ROC curve with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


def main(command_line: Sequence[str] | None = None) -> None:
    """Score what is missing, print, write."""
    options = parse(command_line)
    kinds = KINDS[options.kinds]
    variations = {LIVING: PLAIN}
    variations |= {kind: Variation(dead=1.0, dead_kinds=(kind,)) for kind in kinds}
    variations |= INFORMATION
    conditions = {
        (domain, name): Condition(domain, options.split, options.subjects, variation)
        for domain in options.domains
        for name, variation in variations.items()
    }
    store = recording_store("verification", options.scores)
    found = measure_recordings(
        score_clips, list(conditions.values()), store, CODE, jobs=options.jobs
    )
    results = {
        domain: summarize({name: found[conditions[domain, name]] for name in variations}, kinds)
        for domain in options.domains
    }
    print_results(results, kinds)
    claims = judge(results, asked=options.kinds == "tested" and not options.quick)
    print_claims(claims)
    settings = {
        "kinds": list(kinds),
        "split": options.split,
        "subjects": options.subjects,
        "threshold": PULSE_SCORE,
        "domains": [DOMAINS[name].key for name in options.domains],
    }
    document = {"settings": settings, "claims": [vars(c) for c in claims], "domains": results}
    out = options.out or RESULTS / f"verification_{options.kinds}.json"
    write_json(out, document, allow_nan=False)
    print(f"\nwrote {out}")


def parse(command_line: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = arguments(__doc__, "verification")
    parser.set_defaults(out=None)
    parser.add_argument("--kinds", choices=tuple(KINDS), default="tuned")
    parser.add_argument("--scores", type=Path, default=NEW, help="folder of the stored scores")
    return parse_with_recordings(parser, command_line, subjects=16, unit="kind")


def score_clips(recording: Recording) -> dict[str, Any]:
    """Return the subject, and every score of each clip."""
    net = scoring_estimator().net
    scores: dict[str, list[float]] = {name: [] for name in SCORES}
    with torch.inference_mode(), one_thread():
        for clips in scored_clips(recording.load_crops()):
            output = net(clips)
            evidence = net.verify(output)
            scores[LINE] += net.line(output).tolist()
            scores["share"] += evidence.at_peak(evidence.share).tolist()
            scores["weak_amplitude"] += (-net.fuse(output).square().mean(-1).sqrt()).tolist()
    return {"subject": recording.subject, "scores": scores}


def summarize(found: Mapping[str, Sequence[Measurement]], kinds: Sequence[str]) -> dict[str, Any]:
    """Return a domain's AUCs and shares, by score, from the measurements of its recordings.

    Args:
        found: by `LIVING`, kind, and name in `INFORMATION`.
    """
    by_score = {}
    called = {name: share_called_living(rows) for name, rows in found.items()}
    for score in SCORES:
        living = clip_table(found[LIVING], score)
        dead = {kind: clip_table(found[kind], score) for kind in kinds}
        threshold = PULSE_SCORE
        if score != LINE:
            threshold = matched_threshold(_means(living), called[LIVING])
        rejected = {kind: float(np.mean(_means(rows) < threshold)) for kind, rows in dead.items()}
        by_score[score] = {
            "by_recording": _aucs(
                [row[None] for row in _means(living)],
                {kind: [row[None] for row in _means(rows)] for kind, rows in dead.items()},
            ),
            "by_clip": _aucs(living, dead),
            "threshold": threshold,
            "living_kept": float(np.mean(_means(living) >= threshold)),
            "dead_rejected": {**rejected, "mean": fmean(rejected.values())},
        }
    return {
        "scores": by_score,
        "called_living": {name: called[name] for name in INFORMATION if name in called},
    }


def clip_table(rows: Sequence[Measurement], score: str) -> list[Array]:
    """Return each recording's scores by clip; without a clip there is one, the lowest."""
    return [np.array(row["scores"][score] or [-np.inf], dtype=np.float64) for row in rows]


def share_called_living(rows: Sequence[Measurement]) -> float:
    """Return the share of recordings whose score reaches `PULSE_SCORE`."""
    return float(np.mean(_means(clip_table(rows, LINE)) >= PULSE_SCORE))


def matched_threshold(living: Array, kept: float) -> float:
    """Return the threshold at which a score keeps a share of the living recordings."""
    count = round(kept * len(living))
    return float(np.sort(living)[::-1][count - 1]) if count else float(np.max(living)) + 1.0


def auc_parts(living: Sequence[Array], dead: Sequence[Array]) -> tuple[Array, Array]:
    """Return, for each pair of subjects `(N, N)`, the sum of wins over clips, and their number."""
    wins = [[np.sum(a[:, None] > b) + 0.5 * np.sum(a[:, None] == b) for b in dead] for a in living]
    pairs = [[len(a) * len(b) for b in dead] for a in living]
    return np.array(wins, dtype=np.float64), np.array(pairs, dtype=np.float64)


def mean_auc(parts: Sequence[tuple[Array, Array]], *, seed: int = 0) -> Auc:
    """Return the mean AUC over kinds; subjects are resampled together in all of them."""
    count = len(parts[0][0])
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(np.float64)

    def mean(weight: Array) -> Array:
        values = [
            np.einsum("ki,ij,kj->k", weight, wins, weight)
            / np.einsum("ki,ij,kj->k", weight, pairs, weight)
            for wins, pairs in parts
        ]
        return np.mean(values, axis=0)

    low, high = np.percentile(mean(drawn), [2.5, 97.5])
    return Auc(float(mean(np.ones((1, count)))[0]), float(low), float(high))


def judge(results: Mapping[str, Mapping[str, Any]], *, asked: bool = True) -> list[Claim]:
    """Return the claims; `asked`: whether the kinds and the size are those that they are about.

    If not, the numbers found are shown all the same.
    """
    claims = []
    for domain, least in LEAST_AUC.items():
        text = f"{domain}: AUC by recording, mean over tested kinds, >= {least:.2f}"
        if domain not in results:
            claims.append(Claim(text, "not measured", None))
            continue
        found = Auc(**results[domain]["scores"][LINE]["by_recording"]["mean"])
        claims.append(Claim(text, str(found), found.value >= least if asked else None))
    text = f"each tested kind on each domain: AUC by recording >= {LEAST_KIND_AUC:.2f}"
    by_kind = {
        f"{kind} on {domain}": Auc(**values)
        for domain, result in results.items()
        for kind, values in result["scores"][LINE]["by_recording"].items()
        if kind != "mean"
    }
    worst = min(by_kind, key=lambda name: by_kind[name].value)
    holds = by_kind[worst].value >= LEAST_KIND_AUC if asked else None
    claims.append(Claim(text, f"lowest: {worst}, {by_kind[worst]}", holds))
    return claims


def print_results(results: Mapping[str, Mapping[str, Any]], kinds: Sequence[str]) -> None:
    """Print the tables."""
    names, scores = ("mean", *kinds), [result["scores"] for result in results.values()]
    for unit in ("by_recording", "by_clip"):
        print_table(
            f"AUC {unit.replace('_', ' ')} (95 % over subjects)",
            ("score", "kind", *results),
            [
                [score, kind] + [_auc_text(r[score][unit][kind]) for r in scores]
                for score in SCORES
                for kind in names
            ],
        )
    rows: list[tuple[str, ...]] = []
    for score in SCORES:
        shares = [result["scores"][score] for result in results.values()]
        rows.append((score, "living, kept", *(f"{s['living_kept']:.2f}" for s in shares)))
        for kind in names:
            rejected = (f"{s['dead_rejected'][kind]:.2f}" for s in shares)
            rows.append((score, f"{kind}, rejected", *rejected))
    print_table(
        f"At {PULSE_SCORE:g}, or the threshold that keeps as many living recordings: shares",
        ("score", "recordings", *results),
        rows,
    )
    print_table(
        "Share of recordings that count as living (replay has no target)",
        ("recordings", *results),
        [
            (name, *(f"{result['called_living'][name]:.2f}" for result in results.values()))
            for name in INFORMATION
        ],
    )


def _auc_text(values: Mapping[str, float]) -> str:
    return str(Auc(**values))


def _means(table: Sequence[Array]) -> Array:
    return np.array([np.mean(row) for row in table])


def _aucs(
    living: Sequence[Array], dead: Mapping[str, Sequence[Array]]
) -> dict[str, dict[str, float]]:
    """Return the AUC of each kind, and their mean, as JSON values."""
    parts = {kind: auc_parts(living, rows) for kind, rows in dead.items()}
    found = {"mean": mean_auc(list(parts.values()))}
    found |= {kind: mean_auc([part]) for kind, part in parts.items()}
    return {name: {k: round(v, 4) for k, v in vars(auc).items()} for name, auc in found.items()}


if __name__ == "__main__":
    main()
