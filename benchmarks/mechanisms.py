"""What each of the three levels changes in a training: `python -m benchmarks.mechanisms`.

Trains FCUS-rPPG for one epoch with every on/off setting of mask, smoothing and projection, with the
same seeds, and measures what each level is meant to change. Prints the settings, each level's
effect (on minus off, averaged over the settings of the other two, paired by seed), and whether it
has its intended effect; writes `docs/results/mechanisms.json`. Finished trials are stored, so an
interrupted program continues. Whether a level lowers the error is `benchmarks.ablation`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from statistics import fmean, stdev

import numpy as np

from benchmarks.study.options import Budget, parse
from benchmarks.study.output import Claim, print_claims, print_table, write
from benchmarks.study.statistics import (
    Array,
    Interval,
    holm,
    level_effect,
    settings_of,
    student,
)
from benchmarks.trials.store import Result, run_all, trial_store
from benchmarks.trials.trial_settings import LEVELS, Trial

MECHANISMS = {
    "gradient_cosine": ("mask", +1, "mean cosine of successive gradients"),
    "sign_flips": ("mask", -1, "share of gradient entries that change their sign"),
    "eigenvalue": ("smooth", -1, "largest eigenvalue of the loss's Hessian at the end"),
    "ascent": ("smooth", -1, "rise of the loss at SAM's ascent at the end"),
    "drift": ("project", -1, "relative change of the features of held-out noise"),
}
"""Intended effects: metric → level, the sign of its effect, what is measured."""

SHOWN = ("gradient_cosine", "sign_flips", "eigenvalue", "ascent", "drift", "cka_loss")
QUICK = Budget(("webcam", "wild"), 2, subjects=6)
FULL = Budget(("mobile", "wild", "webcam"), 5)

Effects = Mapping[str, Mapping[str, Mapping[str, Interval]]]
"""On minus off, by source, level and metric."""


def main(command_line: Sequence[str] | None = None) -> None:
    """Compute missing trials, print, write."""
    options = parse("mechanisms", __doc__, QUICK, FULL, command_line)
    budget = options.budget
    trials = [
        budget.trial("fcus", source, seed, levels=setting, targets=())
        for source in budget.sources
        for seed in range(budget.seeds)
        for setting in settings_of(LEVELS)
    ]
    finished = run_all(trial_store(options.trials), trials, jobs=options.jobs)
    results = dict(zip(trials, finished, strict=True))
    failed = [f"{t.title}: {r['failed']}" for t, r in results.items() if "failed" in r]
    if failed:
        print("\ntrainings diverged, and their seeds are left out: " + "; ".join(failed))
    values = {
        source: diagnoses({t: r for t, r in results.items() if t.source == source})
        for source in budget.sources
    }
    effects = {source: effects_of(of_source) for source, of_source in values.items()}
    for source, of_source in values.items():
        print_table(
            f"Trained on {source}: mean over seeds (standard deviation)",
            ("levels on", *SHOWN),
            [
                ("+".join(setting) or "none", *(_mean_sd(row[name]) for name in SHOWN))
                for setting, row in of_source.items()
            ],
        )
    for metric, (_, sign, what) in MECHANISMS.items():
        print_table(
            f"Effect on the {what} (95 % over seeds); intended: {'up' if sign > 0 else 'down'}",
            ("level", *effects),
            [
                (level, *(_fine(effects[source][level][metric]) for source in effects))
                for level in LEVELS
            ],
        )
    claims = judge(effects)
    print_claims(claims)
    write(
        options,
        {
            "settings_by_source": {
                source: {"+".join(setting) or "none": row for setting, row in of_source.items()}
                for source, of_source in values.items()
            },
            "effects": {
                source: {
                    level: {metric: asdict(effect) for metric, effect in of_level.items()}
                    for level, of_level in of_source.items()
                }
                for source, of_source in effects.items()
            },
            "failed": failed,
        },
        claims,
    )


def diagnoses(
    results: Mapping[Trial, Result],
) -> dict[tuple[str, ...], dict[str, list[float | None]]]:
    """Return every measurement of every setting, one value per seed of which none diverged."""
    failed = {trial.seed for trial, result in results.items() if "failed" in result}
    seeds = sorted({trial.seed for trial in results} - failed)
    of = {(trial.levels, trial.seed): result for trial, result in results.items()}
    return {
        setting: {name: [of[setting, seed]["diagnosis"][name] for seed in seeds] for name in SHOWN}
        for setting in settings_of(LEVELS)
    }


def effects_of(
    values: Mapping[tuple[str, ...], Mapping[str, Sequence[float | None]]],
) -> dict[str, dict[str, Interval]]:
    """Return the effect of switching each level on, by level and metric."""
    effects: dict[str, dict[str, Interval]] = {level: {} for level in LEVELS}
    for metric in MECHANISMS:
        by_setting: dict[tuple[str, ...], Array] = {
            setting: np.array(row[metric], dtype=np.float64) for setting, row in values.items()
        }
        for level in LEVELS:
            effects[level][metric] = student([float(v) for v in level_effect(by_setting, level)])
    return effects


def judge(effects: Effects) -> list[Claim]:
    """Return the claims of intended effects."""
    claims = []
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


def _mean_sd(values: Sequence[float | None]) -> str:
    finite = [value for value in values if value is not None and isfinite(value)]
    if not finite:
        return "–"
    return f"{fmean(finite):.3g} ({stdev(finite) if len(finite) > 1 else 0:.2g})"


def _fine(effect: Interval) -> str:
    return f"{effect.mean:+.3g} ({effect.low:+.3g} to {effect.high:+.3g})"


if __name__ == "__main__":
    main()
