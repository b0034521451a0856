"""Training on recordings without a pulse: `python -m benchmarks.contamination`.

Trains FCUS-rPPG on folders of which a share has no pulse, with the arms of `ARMS`: no mask, the
former one, the mask as it is, an oracle, the living recordings alone, and a folder that was cleaned
first. Smoothing and projection are on. Evaluates after each of two epochs on all five domains.
Prints SNR and MAE, the mask less every other arm, which claims hold, and whether masking beats
cleaning first; writes `docs/results/contamination.json` and `.svg`. Finished trials are stored, so
an interrupted program continues.

Metrics, written before any run:

- SNR in dB and absolute error in bpm of 10 s windows, as means over a subject's windows, then
  subjects, then the five domains with equal weights, the source's own among them.
- A difference is paired by source, seed and subject. Its 95 % interval is a bootstrap over the
  pairs of source and seed, and over the subjects within each domain. A training that diverged is
  left out with its partner.
- Claims are on SNR after epoch 1, pooled over the three sources; see `CLAIMS`. P-values are
  corrected after Holm over the three: that of a gain is against zero, that of a cost against its
  limit.

The kinds of recordings without a pulse are those by which the mask's score and threshold were
chosen (`TUNED_KINDS`). The arms `living` and `cleaned` make fewer steps in an epoch than the masks.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.study.difference_claim import Comparison, DifferenceClaim, judge_difference
from benchmarks.study.options import Budget, parse
from benchmarks.study.output import Claim, print_claims, print_table, write
from benchmarks.study.statistics import (
    Array,
    Interval,
    Point,
    Subject,
    by_subject,
    holm,
    paired_difference,
    stack,
    subject_means,
)
from benchmarks.trials.evaluation import SNR
from benchmarks.trials.store import Result, run_all, trial_store
from benchmarks.trials.trial_settings import ARMS, Trial
from rppg.report.figure_style import MARKERS, PALETTE, in_house_style

COMPARED = Comparison("new", "dB", larger_is_better=True)
CLAIMS = (
    DifferenceClaim(0.6, "none", +0.2, excludes_zero=True),
    DifferenceClaim(0.6, "oracle", -0.1),
    DifferenceClaim(0.0, "none", -0.1),
)
"""Written before the trials."""

AS_WITHOUT_MASK = ("oracle", "living")
"""Arms that are `none` where every recording is a living one."""
MAE = "mae_bpm"
METRICS = {SNR: "SNR, dB", MAE: "MAE, bpm"}
SEEDS_ASKED = 5
"""Least number of seeds with which the claims are asked."""

QUICK = Budget(("webcam",), 1, epochs=2, subjects=6, test_subjects=1, split="validation")
FULL = Budget(("webcam", "mobile", "wild"), 5, epochs=2)


def main(command_line: Sequence[str] | None = None) -> None:
    """Compute missing trials, print, write."""
    options = parse("contamination", __doc__, QUICK, FULL, command_line)
    budget = options.budget
    trials = [
        budget.trial("fcus", source, seed, dead=dead, arm=arm)
        for source in budget.sources
        for seed in range(budget.seeds)
        for dead in budget.dead
        for arm in budget.arms
        if arm == measured_arm(arm, dead)
    ]
    finished = run_all(trial_store(options.trials), trials, jobs=options.jobs)
    study = Contamination(dict(zip(trials, finished, strict=True)))
    if study.failed:
        print(f"\n{len(study.failed)} trainings diverged: " + "; ".join(study.failed))
    epochs = sorted({1, budget.epochs})
    for epoch in epochs:
        for metric, title in METRICS.items():
            print_table(
                f"{title}, epoch {epoch}: mean over seeds and the five domains, by source",
                ("dead", "arm", *budget.sources, "all"),
                study.rows(metric, epoch),
            )
    for epoch in epochs:
        for metric, title in METRICS.items():
            print_table(
                f"The mask less other arms, {title}, epoch {epoch} (95 %), by source",
                ("dead", "less", *budget.sources, "all"),
                study.difference_rows(metric, epoch),
            )
    full_size = set(FULL.sources) <= set(budget.sources) and budget.seeds >= SEEDS_ASKED
    claims = judge(study, asked=full_size)
    print_claims(claims)
    most = max(study.shares)
    cleaning = study.difference("cleaned", most, SNR, 1)
    verdict = compare_with_cleaning(cleaning, most, asked=full_size)
    print(f"\n{verdict}")
    write(
        options,
        {
            "arms": {arm: ARMS[arm] for arm in study.arms},
            "shares": study.shares,
            "means": {f"epoch {e}": study.means(e) for e in epochs},
            "new_less": {f"epoch {e}": study.differences(e) for e in epochs},
            "masking_or_cleaning": verdict,
            "failed": study.failed,
        },
        claims,
        draw(study),
    )


def measured_arm(arm: str, dead: float) -> str:
    """Return the arm whose trials are an arm's: without dead recordings, some are the same."""
    return "none" if not dead and arm in AS_WITHOUT_MASK else arm


class Contamination:
    """All trials, by source, share of dead recordings, arm and seed."""

    def __init__(self, results: dict[Trial, Result]) -> None:
        self.sources = tuple(dict.fromkeys(trial.source for trial in results))
        self.seeds = sorted({trial.seed for trial in results})
        self.shares = sorted({trial.dead for trial in results})
        self.arms = tuple(arm for arm in ARMS if any(trial.arm == arm for trial in results))
        self.failed = [f"{t.title}: {r['failed']}" for t, r in results.items() if "failed" in r]
        self._results = {(t.source, t.dead, t.arm, t.seed): r for t, r in results.items()}

    def values(
        self, source: str, dead: float, arm: str, seed: int, metric: str, epoch: int
    ) -> dict[Subject, float] | None:
        """Return a trial's values by subject; None if it is missing, or the training diverged."""
        result = self._results.get((source, dead, measured_arm(arm, dead), seed), {"points": []})
        point: Point | None = next((p for p in result["points"] if p["epoch"] == epoch), None)
        if point is None or "failed" in result:
            return None
        targets = point["targets"]
        return by_subject(point, targets) if metric == MAE else subject_means(point, targets, SNR)

    def mean(self, source: str | None, dead: float, arm: str, metric: str, epoch: int) -> float:
        """Return the mean over trials and domains; over all sources if `source` is None."""
        found = [
            values
            for s in self._sources(source)
            for seed in self.seeds
            if (values := self.values(s, dead, arm, seed, metric, epoch)) is not None
        ]
        if not found:
            return float("nan")
        values, groups = stack(found)
        return float(np.mean([np.nanmean(values[:, _in(groups, g)]) for g in set(groups)]))

    def difference(
        self,
        other: str,
        dead: float,
        metric: str,
        epoch: int,
        source: str | None = None,
        *,
        above: float = 0.0,
    ) -> Interval | None:
        """Return the mask less another arm; None if no pair of trainings is left.

        Args:
            source: all of them if None.
            above: what the p-value is against.
        """
        pairs = [
            (
                self.values(s, dead, COMPARED.mask, seed, metric, epoch),
                self.values(s, dead, other, seed, metric, epoch),
            )
            for s in self._sources(source)
            for seed in self.seeds
        ]
        return paired_difference(pairs, above)

    def rows(self, metric: str, epoch: int) -> list[list[str]]:
        """Return the means as rows of text."""
        return [
            [f"{dead:g}", arm]
            + [f"{self.mean(s, dead, arm, metric, epoch):.2f}" for s in (*self.sources, None)]
            for dead in self.shares
            for arm in self.arms
            if arm == measured_arm(arm, dead)
        ]

    def difference_rows(self, metric: str, epoch: int) -> list[list[str]]:
        """Return the mask less every other arm as rows of text."""
        return [
            [f"{dead:g}", other]
            + [
                "–" if found is None else str(found)
                for s in (*self.sources, None)
                for found in [self.difference(other, dead, metric, epoch, s)]
            ]
            for dead in self.shares
            for other in self._others(dead)
        ]

    def means(self, epoch: int) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
        """Return all means, by metric, source (`all`: over all), share and arm."""
        return {
            metric: {
                s or "all": {
                    f"{dead:g}": {arm: self.mean(s, dead, arm, metric, epoch) for arm in self.arms}
                    for dead in self.shares
                }
                for s in (*self.sources, None)
            }
            for metric in METRICS
        }

    def differences(
        self, epoch: int
    ) -> dict[str, dict[str, dict[str, dict[str, dict[str, float] | None]]]]:
        """Return all differences, by metric, source (`all`: over all), share and other arm."""
        return {
            metric: {
                s or "all": {
                    f"{dead:g}": {
                        other: None if found is None else vars(found)
                        for other in self._others(dead)
                        for found in [self.difference(other, dead, metric, epoch, s)]
                    }
                    for dead in self.shares
                }
                for s in (*self.sources, None)
            }
            for metric in METRICS
        }

    def _others(self, dead: float) -> list[str]:
        """Return the arms that the mask is compared with."""
        return [arm for arm in self.arms if arm != COMPARED.mask and arm == measured_arm(arm, dead)]

    def _sources(self, source: str | None) -> tuple[str, ...]:
        return self.sources if source is None else (source,)


def judge(study: Contamination, *, asked: bool = True) -> list[Claim]:
    """Return the claims; `asked`: whether the study is large enough for them."""
    found = [study.difference(c.other, c.dead, SNR, 1, above=c.null) for c in CLAIMS]
    corrected = holm([1.0 if effect is None else effect.p for effect in found])
    return [
        judge_difference(claim, COMPARED, effect, p, asked=asked)
        for claim, effect, p in zip(CLAIMS, found, corrected, strict=True)
    ]


def compare_with_cleaning(difference: Interval | None, dead: float, *, asked: bool = True) -> str:
    """Return in a sentence whether masking beats cleaning first, by SNR in dB."""
    if difference is None:
        return "Masking or cleaning first: not measured."
    if not asked:
        verdict = "Masking less cleaning the folder first, in too small a study to tell"
    elif difference.low > 0:
        verdict = "Masking beats cleaning the folder first"
    elif difference.high < 0:
        verdict = "Cleaning the folder first beats masking"
    else:
        verdict = "Masking does not beat cleaning the folder first, nor the other way round"
    return f"{verdict}: {difference} dB at {dead:g} dead, epoch 1."


@in_house_style
def draw(study: Contamination) -> Figure:
    """Draw the SNR over the share of dead recordings, pooled over the sources."""
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    axes = figure.subplots()
    for index, arm in enumerate(study.arms):
        axes.plot(
            study.shares,
            [study.mean(None, dead, arm, SNR, 1) for dead in study.shares],
            marker=MARKERS[index % len(MARKERS)],
            color=PALETTE[index % len(PALETTE)],
            label=arm,
        )
    axes.set_xticks(study.shares)
    axes.set(
        xlabel="share of training recordings without a pulse",
        ylabel="SNR after one epoch (dB)",
        title="Training on recordings without a pulse",
    )
    figure.legend(loc="outside right center")
    return figure


def _in(groups: Sequence[str], group: str) -> Array:
    return np.array([g == group for g in groups])


if __name__ == "__main__":
    main()
