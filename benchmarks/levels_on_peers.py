"""gradreg's mask on a published method: `python -m benchmarks.levels_on_peers`.

Trains Contrast-Phys on PhysNet on a folder of which a share has no pulse, with the arms of
`PEER_ARMS`: no level, a folder filtered beforehand, the mask, and an oracle. Evaluates at five
points along the clips seen, on the training domain. Records at each point the two criteria on the
held-out recordings, which need no label, by which the epoch can be chosen. Prints MAE and SNR, the
mask less every other arm, the error of the point that each criterion would have kept, and which
claims hold; writes `docs/results/levels_on_peers.json` and `.svg`. Finished trials are stored, so
an interrupted program continues.

Metrics, written before any run:

- Absolute error in bpm and SNR in dB of 10 s windows, as means over a subject's windows, then
  subjects, at the last point.
- A difference is paired by seed and subject. Its 95 % interval is a bootstrap over the seeds and
  the subjects. A training that diverged is left out with its partner.
- A criterion keeps the point at which it is lowest, of the five; the dead recordings among the
  held-out ones count for the method's own, as in `rppg train`.
- Claims are on MAE; see `CLAIMS` and `SELECTION`. P-values are corrected after Holm over the four:
  that of a gain is against zero, that of a cost against its limit.
- SiNC is trained once, without dead recordings, and is in the table only if it converges: if its
  last point's MAE is below that of guessing the middle of the domain's heart rates.

The kinds of recordings without a pulse are those by which the score and its threshold were chosen
(`TUNED_KINDS`). Where the mask keeps the living recordings and no others, it is the oracle, and one
training counts for both; the program says so. Trials differ from the published settings, see
`peer_config`.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from math import inf, isfinite

import numpy as np
from matplotlib.figure import Figure

from benchmarks.study.difference_claim import (
    Comparison,
    DifferenceClaim,
    judge_difference,
    judged,
)
from benchmarks.study.options import Budget, parse
from benchmarks.study.output import Claim, print_claims, print_table, write
from benchmarks.study.statistics import (
    Interval,
    Point,
    Subject,
    by_subject,
    guess_mae,
    holm,
    mae,
    paired_difference,
    subject_means,
)
from benchmarks.trials.contaminated_peer import POINTS, kept_recordings
from benchmarks.trials.evaluation import SNR
from benchmarks.trials.store import Result, run_all, trial_store
from benchmarks.trials.trial_settings import PEER_ARMS, Trial
from rppg.errors import InputError
from rppg.report.figure_style import MARKERS, PALETTE, in_house_style
from rppg.synthetic.domains import DOMAINS

COMPARED = Comparison("mask", "bpm", larger_is_better=False)
CLAIMS = (
    DifferenceClaim(0.4, "plain", -3.0, excludes_zero=True),
    DifferenceClaim(0.4, "oracle", +2.0),
    DifferenceClaim(0.0, "plain", +1.0),
)
SELECTION = 0.4, "plain"
"""Share and arm in which the criterion by the reference keeps points with a lower MAE in the mean
than the method's own. Written before the trials, as `CLAIMS`."""

SHARES = (0.0, 0.4)
MAE = "mae_bpm"
METRICS = {MAE: "MAE, bpm", SNR: "SNR, dB"}
OWN, BY_REFERENCE = "criterion", "criterion_by_reference"
CRITERIA = {OWN: "the method's own", BY_REFERENCE: "by the reference"}
SEEDS_ASKED = 5
"""Least number of seeds with which the claims are asked."""

QUICK = Budget(("lab",), 1, subjects=12, test_subjects=2, curve_subjects=2, split="validation")
FULL = Budget(("lab",), 5, curve_subjects=20)
QUICK_CLIPS, FULL_CLIPS = 16, 650

Values = dict[Subject, float]


def main(command_line: Sequence[str] | None = None) -> None:
    """Compute missing trials, print, write."""
    options = parse("levels_on_peers", __doc__, QUICK, FULL, command_line)
    budget = options.budget
    if len(budget.sources) != 1:
        raise InputError(f"--sources {' '.join(budget.sources)}: expected one domain")
    (source,) = budget.sources
    clips = QUICK_CLIPS if options.quick else FULL_CLIPS

    def trial(method: str, dead: float, arm: str, seed: int) -> Trial:
        changes = {"dead": dead, "arm": arm, "clips": clips, "targets": (source,)}
        return budget.trial(method, source, seed, **changes)

    exact = exact_shares(lambda dead, arm: kept_recordings(trial("contrast-phys", dead, arm, 0)))
    trials = [
        trial("contrast-phys", dead, arm, seed)
        for seed, dead, arm in product(range(budget.seeds), SHARES, PEER_ARMS)
        if arm == measured_arm(arm, dead, exact)
    ]
    sinc = trial("sinc", 0.0, "plain", 0)
    *finished, sinc_result = run_all(
        trial_store(options.trials), [*trials, sinc], jobs=options.jobs
    )
    study = LevelsOnPeers(dict(zip(trials, finished, strict=True)), exact)
    guess = study.guess()
    verdict = describe_sinc(sinc_result, source, guess)
    converged = has_converged(sinc_result, source, guess)
    print_study(study, clips, sinc_result if converged else None)
    print(f"\nGuessing the middle of the domain's heart rates: MAE {guess:.2f} bpm.\n{verdict}")
    full_size = budget.seeds >= SEEDS_ASKED and clips == FULL_CLIPS
    claims = judge(study, asked=full_size)
    print_claims(claims)
    write(
        options,
        {
            "arms": dict(PEER_ARMS),
            "shares": SHARES,
            "clips": clips,
            "points": study.means(),
            "mask_less": study.differences(),
            "kept_by_criterion": study.selections(),
            "recordings": study.recordings(),
            "oracle_is_mask": sorted(exact),
            "guess_mae_bpm": guess,
            "sinc": verdict,
            "failed": study.failed,
        },
        claims,
        draw(study, clips, guess),
    )


def exact_shares(kept: Callable[[float, str], Sequence[int]]) -> set[float]:
    """Return the shares at which the mask keeps the recordings that the oracle keeps.

    Args:
        kept: function from share and arm to the recordings that are kept.
    """
    return {dead for dead in SHARES if dead and kept(dead, "mask") == kept(dead, "oracle")}


def measured_arm(arm: str, dead: float, exact: set[float]) -> str:
    """Return the arm whose trials are an arm's: some would be trained alike."""
    if arm != "oracle":
        return arm
    if not dead:
        return "plain"
    return "mask" if dead in exact else "oracle"


class LevelsOnPeers:
    """All trials of one method and domain, by share of dead recordings, arm and seed."""

    def __init__(self, results: dict[Trial, Result], exact: set[float]) -> None:
        (self.source,) = {trial.source for trial in results}
        self.seeds = sorted({trial.seed for trial in results})
        self.failed = [f"{t.title}: {r['failed']}" for t, r in results.items() if "failed" in r]
        self.exact = exact
        self._results = {(t.dead, t.arm, t.seed): r for t, r in results.items()}

    def result(self, dead: float, arm: str, seed: int) -> Result | None:
        """Return a trial's result; None if the training diverged."""
        result = self._results[dead, measured_arm(arm, dead, self.exact), seed]
        return None if "failed" in result else result

    def values(
        self, dead: float, arm: str, seed: int, metric: str, index: int = -1
    ) -> Values | None:
        """Return a trial's values by subject at a point; None if the training diverged."""
        result = self.result(dead, arm, seed)
        return None if result is None else self.point_values(result["points"][index], metric)

    def mean(self, dead: float, arm: str, metric: str, index: int = -1) -> float:
        """Return the mean over subjects and seeds at a point."""
        return _mean(self.values(dead, arm, seed, metric, index) for seed in self.seeds)

    def difference(
        self, other: str, dead: float, metric: str, *, above: float = 0.0
    ) -> Interval | None:
        """Return the mask less another arm; None if no pair of trainings is left.

        Args:
            above: what the p-value is against.
        """
        pairs = [
            (
                self.values(dead, "mask", seed, metric),
                self.values(dead, other, seed, metric),
            )
            for seed in self.seeds
        ]
        return paired_difference(pairs, above)

    def chosen(self, dead: float, arm: str, seed: int, criterion: str) -> int | None:
        """Return the point that a criterion keeps; None if the training diverged."""
        result = self.result(dead, arm, seed)
        if result is None:
            return None
        found = [point[criterion] for point in result["points"]]
        return int(np.argmin([value if isfinite(value) else inf for value in found]))

    def values_of_chosen(
        self, dead: float, arm: str, seed: int, criterion: str, metric: str
    ) -> Values | None:
        """Return a trial's values by subject at the point that a criterion keeps."""
        index = self.chosen(dead, arm, seed, criterion)
        return None if index is None else self.values(dead, arm, seed, metric, index)

    def selection(self, dead: float, arm: str, metric: str) -> Interval | None:
        """Return the points kept by the reference less those by the method's own criterion."""
        pairs = [
            (
                self.values_of_chosen(dead, arm, seed, BY_REFERENCE, metric),
                self.values_of_chosen(dead, arm, seed, OWN, metric),
            )
            for seed in self.seeds
        ]
        return paired_difference(pairs)

    def guess(self) -> float:
        """Return the MAE of guessing the middle of the domain's heart rates."""
        bpm = sum(DOMAINS[self.source].hr_bpm) / 2
        points = [r["points"][-1] for r in self._results.values() if r["points"]]
        return guess_mae(points[0], self.source, bpm) if points else float("nan")

    def means(self) -> dict[str, dict[str, dict[str, list[float]]]]:
        """Return the mean at each point, by metric, share and arm."""
        return {
            metric: {
                f"{dead:g}": {
                    arm: [self.mean(dead, arm, metric, n) for n in range(POINTS)]
                    for arm in PEER_ARMS
                }
                for dead in SHARES
            }
            for metric in METRICS
        }

    def differences(self) -> dict[str, dict[str, dict[str, dict[str, float] | None]]]:
        """Return the mask less every other arm at the last point, by metric and share."""
        return {
            metric: {
                f"{dead:g}": {
                    other: None if found is None else vars(found)
                    for other in PEER_ARMS
                    if other != "mask"
                    for found in [self.difference(other, dead, metric)]
                }
                for dead in SHARES
            }
            for metric in METRICS
        }

    def selections(self) -> dict[str, dict[str, dict[str, list[dict[str, float | None]]]]]:
        """Return the point (from 1) that each criterion keeps and its mean MAE, seed by seed."""
        return {
            f"{dead:g}": {
                arm: {
                    criterion: [
                        {
                            "point": None if index is None else index + 1,
                            MAE: _mean([self.values_of_chosen(dead, arm, seed, criterion, MAE)]),
                        }
                        for seed in self.seeds
                        for index in [self.chosen(dead, arm, seed, criterion)]
                    ]
                    for criterion in CRITERIA
                }
                for arm in PEER_ARMS
            }
            for dead in SHARES
        }

    def recordings(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return the numbers of living and dead recordings that train, by share and arm."""
        return {
            f"{dead:g}": {
                arm: self._results[dead, measured_arm(arm, dead, self.exact), 0]["recordings"]
                for arm in PEER_ARMS
            }
            for dead in SHARES
        }

    def point_values(self, point: Point, metric: str) -> Values:
        """Return the values by subject at a point of any trial."""
        targets = (self.source,)
        return by_subject(point, targets) if metric == MAE else subject_means(point, targets, SNR)


def judge(study: LevelsOnPeers, *, asked: bool = True) -> list[Claim]:
    """Return the claims; `asked`: whether the study is large enough for them."""
    found = [study.difference(c.other, c.dead, MAE, above=c.null) for c in CLAIMS]
    selection = study.selection(*SELECTION, MAE)
    corrected = holm([1.0 if effect is None else effect.p for effect in (*found, selection)])
    claims = []
    for claim, effect, p in zip(CLAIMS, found, corrected, strict=False):
        same = claim.other == "oracle" and claim.dead in study.exact
        note = "; the same recordings are kept, so it is the same training" if same else ""
        claims.append(judge_difference(claim, COMPARED, effect, p, asked=asked, note=note))
    dead, arm = SELECTION
    text = f"{dead:g} dead, {arm}: point kept by the reference less by the own criterion < 0 bpm"
    holds = selection is not None and selection.mean < 0
    return [*claims, judged(text, selection, corrected[-1], holds=holds, asked=asked)]


def has_converged(result: Result, source: str, guess: float) -> bool:
    """Return whether the last point's MAE is below that of guessing."""
    return "failed" not in result and mae(result["points"][-1], source) < guess


def describe_sinc(result: Result, source: str, guess: float) -> str:
    """Return in a sentence SiNC's error, or that it did not converge."""
    if "failed" in result:
        return f"SiNC did not converge: {result['failed']}"
    last = result["points"][-1]
    error = mae(last, source)
    if not has_converged(result, source, guess):
        return (
            f"SiNC did not converge in {last['clips']} clips: MAE {error:.2f} bpm, that of a "
            f"constant guess is {guess:.2f}; it is in no table."
        )
    return f"SiNC, no dead recordings, one seed: MAE {error:.2f} bpm after {last['clips']} clips."


def print_study(study: LevelsOnPeers, clips: int, sinc: Result | None) -> None:
    """Print the tables; `sinc`: its trial, if it converged."""
    if study.failed:
        print(f"\n{len(study.failed)} trainings diverged: " + "; ".join(study.failed))
    for dead in sorted(study.exact):
        print(f"\nAt {dead:g} dead the mask keeps what the oracle keeps: one training for both.")
    arms = [
        (dead, arm)
        for dead in SHARES
        for arm in PEER_ARMS
        if arm == measured_arm(arm, dead, study.exact)
    ]
    for metric, title in METRICS.items():
        rows = [
            [f"{dead:g}", arm, *(f"{study.mean(dead, arm, metric, n):.2f}" for n in range(POINTS))]
            for dead, arm in arms
        ]
        if sinc is not None:
            means = [_mean([study.point_values(point, metric)]) for point in sinc["points"]]
            rows.append(["0", "plain, SiNC, one seed", *(f"{mean:.2f}" for mean in means)])
        head = ("dead", "arm", *map(str, clips_at_points(clips)))
        print_table(f"{title}: mean over seeds and subjects, by clips seen (about)", head, rows)
    rows = [
        [f"{dead:g}", other, *("–" if d is None else str(d) for d in found)]
        for dead in SHARES
        for other in PEER_ARMS
        if other != "mask"
        for found in [[study.difference(other, dead, metric) for metric in METRICS]]
    ]
    head = ("dead", "less", *METRICS.values())
    print_table("The mask less other arms at the last point (95 %)", head, rows)
    kept = study.selections()
    rows = []
    for dead, arm in arms:
        cells = [_selection_cell(kept[f"{dead:g}"][arm][criterion]) for criterion in CRITERIA]
        less = study.selection(dead, arm, MAE)
        rows.append([f"{dead:g}", arm, *cells, "–" if less is None else str(less)])
    print_table(
        "MAE, bpm, at the point (of each seed) that a criterion without labels keeps",
        ("dead", "arm", *CRITERIA.values(), "the latter less the former (95 %)"),
        rows,
    )


def clips_at_points(clips: int) -> list[int]:
    """Return the clips seen at each point, except for whole epochs."""
    return [round(clips * n / POINTS) for n in range(1, POINTS + 1)]


def _selection_cell(seeds: Sequence[dict[str, float | None]]) -> str:
    errors = [row[MAE] for row in seeds if row["point"] is not None]
    points = ", ".join("–" if row["point"] is None else str(row["point"]) for row in seeds)
    mean = float(np.mean([e for e in errors if e is not None])) if errors else float("nan")
    return f"{mean:.2f} ({points})"


@in_house_style
def draw(study: LevelsOnPeers, clips: int, guess: float) -> Figure:
    """Draw the error over the clips seen, a panel for each share of dead recordings."""
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    panels = figure.subplots(1, len(SHARES), sharey=True)
    for axes, dead in zip(panels, SHARES, strict=True):
        for index, arm in enumerate(PEER_ARMS):
            if arm != measured_arm(arm, dead, study.exact):
                continue
            axes.plot(
                clips_at_points(clips),
                [study.mean(dead, arm, MAE, n) for n in range(POINTS)],
                marker=MARKERS[index],
                color=PALETTE[index],
                label=arm if dead else None,
            )
        axes.axhline(guess, color="0.5", linestyle="dashed", label="guess" if dead else None)
        axes.set(xlabel="training clips seen", title=f"{100 * dead:.0f} % without a pulse")
    panels[0].set(ylabel="MAE (bpm)", ylim=(0, None))
    figure.legend(loc="outside right center")
    return figure


def _mean(found: Iterable[Values | None]) -> float:
    """Return the mean over subjects, then over those that aren't None; NaN if all are."""
    means = [float(np.nanmean(list(values.values()))) for values in found if values is not None]
    return float(np.mean(means)) if means else float("nan")


if __name__ == "__main__":
    main()
