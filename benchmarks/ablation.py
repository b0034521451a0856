"""Effect of each of the three levels: `python -m benchmarks.ablation`.

Trains FCUS-rPPG for one epoch with every on/off setting of mask, smoothing and projection, on three
domains and with the same seeds, and evaluates each on all domains. Prints the settings, each
level's effect (on minus off, averaged over the settings of the other two, paired by seed), whether
the claims made beforehand hold, and whether each level has its intended effect; writes
`docs/results/ablation.json` and `.svg`. Finished trials are stored, so an interrupted program
continues.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean, stdev

import numpy as np
from matplotlib.figure import Figure

from benchmarks.study.options import Budget, parse
from benchmarks.study.output import Claim, print_claims, print_table, write
from benchmarks.study.statistics import (
    Array,
    Interval,
    bootstrap,
    by_subject,
    holm,
    level_effect,
    mean_mae,
    settings_of,
    stack,
    student,
)
from benchmarks.trials.store import Result, run_all, trial_store
from benchmarks.trials.trial_settings import LEVELS, Trial
from rppg.report.figure_style import PALETTE, in_house_style
from rppg.synthetic.domains import DOMAINS

MAE = "mae_bpm"
"""Mean over the targets other than the source; lower is better."""

NOT_WORSE_BPM = 0.3
"""A level hurts on a source if it raises the error there by more than this."""


@dataclass(frozen=True)
class MainClaim:
    """The source and the metric in which a level is claimed to help.

    The metric is `MAE` or one of `MECHANISMS`.
    """

    source: str
    metric: str


MAIN_CLAIMS = {
    "mask": MainClaim("wild", MAE),
    "smooth": MainClaim("wild", MAE),
    "project": MainClaim("wild", MAE),
}
"""Written before the trials; Holm's correction is over these three."""

MECHANISMS = {
    "gradient_cosine": ("mask", +1, "mean cosine of successive gradients"),
    "sign_flips": ("mask", -1, "share of gradient entries that change their sign"),
    "eigenvalue": ("smooth", -1, "largest eigenvalue of the loss's Hessian at the end"),
    "ascent": ("smooth", -1, "rise of the loss at SAM's ascent at the end"),
    "drift": ("project", -1, "relative change of the features of held-out noise"),
}
"""Intended effects: metric → level, the sign of its effect, what is measured."""

SHOWN = ("gradient_cosine", "sign_flips", "eigenvalue", "ascent", "drift", "cka_loss")
QUICK = Budget(("webcam", "wild"), 2, subjects=6, test_subjects=3)
FULL = Budget(("mobile", "wild", "webcam"), 8)


def main(command_line: Sequence[str] | None = None) -> None:
    """Compute missing trials, print, write."""
    options = parse("ablation", __doc__, QUICK, FULL, command_line)
    budget = options.budget
    trials = [
        budget.trial("fcus", source, seed, levels=setting)
        for source in budget.sources
        for seed in range(budget.seeds)
        for setting in settings_of(LEVELS)
    ]
    finished = run_all(trial_store(options.trials), trials, jobs=options.jobs)
    results = dict(zip(trials, finished, strict=True))
    failed = [
        f"{trial.title}: {result['failed']}"
        for trial, result in results.items()
        if "failed" in result
    ]
    if failed:
        print(
            f"\n{len(failed)} trainings diverged, and their seeds are left out: "
            + "; ".join(failed)
        )
    effects: dict[str, dict[str, dict[str, Interval]]] = {}
    settings: dict[str, dict[str, dict[str, list[float]]]] = {}
    for source in budget.sources:
        ablation = Ablation(
            source, {trial: r for trial, r in results.items() if trial.source == source}
        )
        settings[source] = ablation.settings()
        effects[source] = {level: ablation.effects(level) for level in LEVELS}
        print_table(
            f"Trained on {source}: mean over {len(ablation.seeds)} seeds (standard deviation)",
            ("levels on", "MAE, other targets", "MAE, own", *SHOWN),
            [
                (setting, *(_mean_sd(values[name]) for name in (MAE, "own_mae_bpm", *SHOWN)))
                for setting, values in settings[source].items()
            ],
        )
    print_table(
        "Effect of each level on the MAE on other targets, bpm (95 % over subjects and seeds)",
        ("level", *budget.sources),
        [(level, *(str(effects[s][level][MAE]) for s in budget.sources)) for level in LEVELS],
    )
    for metric, (_, sign, what) in MECHANISMS.items():
        print_table(
            f"Effect on the {what} (95 % over seeds); intended: {'up' if sign > 0 else 'down'}",
            ("level", *budget.sources),
            [
                (level, *(_fine(effects[s][level][metric]) for s in budget.sources))
                for level in LEVELS
            ],
        )
    claims = judge(effects)
    print_claims(claims)
    write(
        options,
        {
            "main_claims": {level: vars(claim) for level, claim in MAIN_CLAIMS.items()},
            "settings_by_source": settings,
            "effects": {
                source: {
                    level: {metric: vars(effect) for metric, effect in of_level.items()}
                    for level, of_level in of_source.items()
                }
                for source, of_source in effects.items()
            },
            "failed": failed,
        },
        claims,
        draw({s: {level: e[MAE] for level, e in by.items()} for s, by in effects.items()}),
    )


class Ablation:
    """All settings on one source."""

    def __init__(self, source: str, results: dict[Trial, Result]) -> None:
        self.source = source
        self.others = tuple(name for name in DOMAINS if name != source)
        failed = {trial.seed for trial, result in results.items() if "failed" in result}
        self.seeds = sorted({trial.seed for trial in results} - failed)
        self.results = {
            setting: [
                next(r for t, r in results.items() if (t.levels, t.seed) == (setting, seed))
                for seed in self.seeds
            ]
            for setting in settings_of(LEVELS)
        }

    def settings(self) -> dict[str, dict[str, list[float]]]:
        """Return every metric of every setting, one value per seed."""
        return {
            "+".join(setting) or "none": {
                MAE: [mean_mae(r["points"][0], self.others) for r in results],
                "own_mae_bpm": [mean_mae(r["points"][0], [self.source]) for r in results],
                **{name: [r["diagnosis"][name] for r in results] for name in SHOWN},
            }
            for setting, results in self.results.items()
        }

    def effects(self, level: str) -> dict[str, Interval]:
        """Return the effect of switching a level on, by metric."""
        flat = [by_subject(r["points"][0], self.others) for rs in self.results.values() for r in rs]
        errors, groups = stack(flat)
        parts = np.split(errors, len(self.results))  # (seeds, subjects) of each setting
        effects = {
            MAE: bootstrap(level_effect(dict(zip(self.results, parts, strict=True)), level), groups)
        }
        for metric in MECHANISMS:
            by_setting: dict[tuple[str, ...], Array] = {
                setting: np.array([r["diagnosis"][metric] for r in results], dtype=np.float64)
                for setting, results in self.results.items()
            }
            effects[metric] = student([float(v) for v in level_effect(by_setting, level)])
        return effects


def judge(effects: dict[str, dict[str, dict[str, Interval]]]) -> list[Claim]:
    """Return the main claims, the claims of no harm, and those of intended effects.

    Args:
        effects: by source, level and metric.
    """
    asked = {level: claim for level, claim in MAIN_CLAIMS.items() if claim.source in effects}
    mains = {level: effects[c.source][level][c.metric] for level, c in asked.items()}
    corrected = dict(zip(mains, holm([effect.p for effect in mains.values()]), strict=True))
    claims = []
    for level, claim in MAIN_CLAIMS.items():
        text = f"{level}: helps on {claim.source} in {claim.metric} (Holm, 0.05)"
        if level not in mains:
            claims.append(Claim(text, "not measured", None))
            continue
        effect, sign = mains[level], MECHANISMS[claim.metric][1] if claim.metric != MAE else -1
        found = f"{_fine(effect)}, corrected p {corrected[level]:.3f}"
        claims.append(Claim(text, found, corrected[level] < 0.05 and sign * effect.mean > 0))
    for level in LEVELS:
        others = [s for s in effects if s != MAIN_CLAIMS[level].source]
        if others:
            worst = max(others, key=lambda s: effects[s][level][MAE].mean)
            effect = effects[worst][level][MAE]
            claims.append(
                Claim(
                    f"{level}: hurts on no other source by more than {NOT_WORSE_BPM} bpm",
                    f"worst on {worst}: {effect}",
                    effect.mean <= NOT_WORSE_BPM,
                )
            )
    for metric, (level, sign, what) in MECHANISMS.items():
        by_source = {source: effects[source][level][metric] for source in effects}
        p = holm([effect.p for effect in by_source.values()])
        right = all(
            sign * e.mean > 0 and q < 0.05 for e, q in zip(by_source.values(), p, strict=True)
        )
        found = "; ".join(f"{source} {_fine(effect)}" for source, effect in by_source.items())
        verb = "raises" if sign > 0 else "lowers"
        claims.append(
            Claim(f"{level}: {verb} the {what} on every source (Holm, 0.05)", found, right)
        )
    return claims


@in_house_style
def draw(effects: dict[str, dict[str, Interval]]) -> Figure:
    """Draw each level's effect on each source, with intervals; main claims are filled."""
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    axes = figure.subplots()
    names = list(effects)
    for row, level in enumerate(LEVELS):
        for index, source in enumerate(names):
            effect = effects[source][level]
            y = row + 0.2 * (index - (len(names) - 1) / 2)
            main = MAIN_CLAIMS[level] == MainClaim(source, MAE)
            axes.errorbar(
                effect.mean,
                y,
                xerr=[[effect.mean - effect.low], [effect.high - effect.mean]],
                fmt="o",
                color=PALETTE[index],
                markerfacecolor=PALETTE[index] if main else "white",
                label=f"trained on {source}" if row == 0 else None,
            )
    axes.axvline(0, color="0.4", linewidth=1)
    axes.set_yticks(range(len(LEVELS)), LEVELS)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set(
        xlabel="change of the error on other domains when the level is on (bpm; left is better)",
        title="What each level adds; filled: claimed beforehand",
    )
    figure.legend(loc="outside right center")
    return figure


def _mean_sd(values: Sequence[float | None]) -> str:
    finite = [value for value in values if value is not None and isfinite(value)]
    if not finite:
        return "–"
    return f"{fmean(finite):.3g} ({stdev(finite) if len(finite) > 1 else 0:.2g})"


def _fine(effect: Interval) -> str:
    return f"{effect.mean:+.3g} ({effect.low:+.3g} to {effect.high:+.3g})"


if __name__ == "__main__":
    main()
