"""Does each level earn its place? `python -m benchmarks.ablation`.

Trains FCUS-rPPG for one epoch with every on/off setting of mask, smoothing and projection, on three
domains and with the same seeds, and evaluates each on all domains. Prints the settings, each
level's effect (on less off, averaged over the settings of the other two, paired by seed), whether
what was claimed before the run holds, and whether each level does what it is there for; writes
`docs/results/ablation.json` and `.svg`. Finished runs are kept: a killed program goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean, stdev

import numpy as np
from matplotlib.figure import Figure

from benchmarks.claims.options import Budget, Claim, parse, show_claims, show_table, write
from benchmarks.claims.runs import LEVELS, Run
from benchmarks.claims.statistics import (
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
from benchmarks.claims.stored import Result, make_all
from rppg.report.figure_style import PALETTE, in_house_style
from rppg.synthetic.domains import DOMAINS

MAE = "mae_bpm"
"""Mean over the targets other than the source; the lower the better."""

NOT_WORSE_BPM = 0.3
"""A level that raises the error on a source by more than this hurts there."""


@dataclass(frozen=True)
class MainClaim:
    """Where, and in what, a level is claimed to help: `MAE`, or one of `MECHANISMS`' metrics."""

    source: str
    metric: str


MAIN_CLAIMS = {
    "mask": MainClaim("wild", MAE),
    "smooth": MainClaim("wild", MAE),
    "project": MainClaim("wild", MAE),
}
"""Written down before the run; Holm's correction is over these three."""

MECHANISMS = {
    "gradient_cosine": ("mask", +1, "mean cosine of successive gradients"),
    "sign_flips": ("mask", -1, "share of gradient entries that change their sign"),
    "eigenvalue": ("smooth", -1, "largest eigenvalue of the loss's Hessian at the end"),
    "ascent": ("smooth", -1, "rise of the loss at SAM's ascent at the end"),
    "drift": ("project", -1, "relative change of the features of held-out noise"),
}
"""What each level is there for: metric → level, the sign of its effect, what is measured."""

SHOWN = ("gradient_cosine", "sign_flips", "eigenvalue", "ascent", "drift", "cka_loss")
QUICK = Budget(("webcam", "wild"), 2, subjects=6, test_subjects=3)
FULL = Budget(("mobile", "wild", "webcam"), 8)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, print, write."""
    options = parse("ablation", __doc__, QUICK, FULL, arguments)
    budget = options.budget
    wanted = [
        budget.run("fcus", source, seed, levels=setting)
        for source in budget.sources
        for seed in range(budget.seeds)
        for setting in settings_of(LEVELS)
    ]
    found = dict(zip(wanted, make_all(options.runs, wanted, jobs=options.jobs), strict=True))
    failed = [
        f"{run.title}: {result['failed']}" for run, result in found.items() if "failed" in result
    ]
    if failed:
        print(f"\n{len(failed)} runs diverged, and their seeds are left out: " + "; ".join(failed))
    effects: dict[str, dict[str, dict[str, Interval]]] = {}
    settings: dict[str, dict[str, dict[str, list[float]]]] = {}
    for source in budget.sources:
        ablation = Ablation(source, {run: r for run, r in found.items() if run.source == source})
        settings[source] = ablation.settings()
        effects[source] = {level: ablation.effects(level) for level in LEVELS}
        show_table(
            f"Trained on {source}: mean over {len(ablation.seeds)} seeds (standard deviation)",
            ("levels on", "MAE, other targets", "MAE, own", *SHOWN),
            [
                (setting, *(_mean_sd(values[name]) for name in (MAE, "own_mae_bpm", *SHOWN)))
                for setting, values in settings[source].items()
            ],
        )
    show_table(
        "Effect of each level on the MAE on other targets, bpm (95 % over subjects and seeds)",
        ("level", *budget.sources),
        [(level, *(str(effects[s][level][MAE]) for s in budget.sources)) for level in LEVELS],
    )
    for metric, (_, sign, what) in MECHANISMS.items():
        show_table(
            f"Effect on the {what} (95 % over seeds); wanted: {'up' if sign > 0 else 'down'}",
            ("level", *budget.sources),
            [
                (level, *(_fine(effects[s][level][metric]) for s in budget.sources))
                for level in LEVELS
            ],
        )
    claims = judge(effects)
    show_claims(claims)
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
    """The settings on one source."""

    def __init__(self, source: str, found: dict[Run, Result]) -> None:
        self.source = source
        self.others = tuple(name for name in DOMAINS if name != source)
        lost = {run.seed for run, result in found.items() if "failed" in result}
        self.seeds = sorted({run.seed for run in found} - lost)
        self.results = {
            setting: [
                next(r for run, r in found.items() if (run.levels, run.seed) == (setting, seed))
                for seed in self.seeds
            ]
            for setting in settings_of(LEVELS)
        }

    def settings(self) -> dict[str, dict[str, list[float]]]:
        """Every number of every setting, one a seed."""
        return {
            "+".join(setting) or "none": {
                MAE: [mean_mae(r["points"][0], self.others) for r in results],
                "own_mae_bpm": [mean_mae(r["points"][0], [self.source]) for r in results],
                **{name: [r["diagnosis"][name] for r in results] for name in SHOWN},
            }
            for setting, results in self.results.items()
        }

    def effects(self, level: str) -> dict[str, Interval]:
        """What switching a level on does, by metric."""
        flat = [by_subject(r["points"][0], self.others) for rs in self.results.values() for r in rs]
        errors, groups = stack(flat)
        parts = np.split(errors, len(self.results))  # (seeds, subjects) of each setting
        found = {
            MAE: bootstrap(level_effect(dict(zip(self.results, parts, strict=True)), level), groups)
        }
        for metric in MECHANISMS:
            by_setting: dict[tuple[str, ...], Array] = {
                setting: np.array([r["diagnosis"][metric] for r in results], dtype=np.float64)
                for setting, results in self.results.items()
            }
            found[metric] = student([float(v) for v in level_effect(by_setting, level)])
        return found


def judge(effects: dict[str, dict[str, dict[str, Interval]]]) -> list[Claim]:
    """The main claims, the harm, and the mechanisms.

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
            claims.append(Claim(text, "not run", None))
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
        way = "raises" if sign > 0 else "lowers"
        claims.append(
            Claim(f"{level}: {way} the {what} on every source (Holm, 0.05)", found, right)
        )
    return claims


@in_house_style
def draw(effects: dict[str, dict[str, Interval]]) -> Figure:
    """Each level's effect on each source, with intervals; the main claims filled."""
    picture = Figure(figsize=(7.5, 3.4), layout="constrained")
    axes = picture.subplots()
    names = list(effects)
    for number, level in enumerate(LEVELS):
        for place, source in enumerate(names):
            effect = effects[source][level]
            at = number + 0.2 * (place - (len(names) - 1) / 2)
            main = MAIN_CLAIMS[level] == MainClaim(source, MAE)
            axes.errorbar(
                effect.mean,
                at,
                xerr=[[effect.mean - effect.low], [effect.high - effect.mean]],
                fmt="o",
                color=PALETTE[place],
                markerfacecolor=PALETTE[place] if main else "white",
                label=f"trained on {source}" if number == 0 else None,
            )
    axes.axvline(0, color="0.4", linewidth=1)
    axes.set_yticks(range(len(LEVELS)), LEVELS)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set(
        xlabel="change of the error on other cameras when the level is on (bpm; left is better)",
        title="What each level adds; filled: claimed before the run",
    )
    picture.legend(loc="outside right center")
    return picture


def _mean_sd(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None and isfinite(value)]
    if not known:
        return "–"
    return f"{fmean(known):.3g} ({stdev(known) if len(known) > 1 else 0:.2g})"


def _fine(effect: Interval) -> str:
    return f"{effect.mean:+.3g} ({effect.low:+.3g} to {effect.high:+.3g})"


if __name__ == "__main__":
    main()
