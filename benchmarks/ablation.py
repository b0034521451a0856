"""Effect of each of the three levels: `python -m benchmarks.ablation`.

The study `benchmarks/studies/ablation.toml`: FCUS-rPPG trained for one epoch with every on/off
setting of mask, smoothing and projection, on three domains and with the same seeds, and tested on
all domains. Prints the settings, each level's effect (on minus off, averaged over the settings of
the other two, paired by seed), and whether the claims made beforehand hold; writes
`docs/results/ablation.json` and `.svg`. Finished trials are stored, so an interrupted program
continues. What each level changes in the training is another program, `benchmarks.mechanisms`.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import fmean, stdev

import numpy as np
from matplotlib.figure import Figure

from benchmarks.study.from_study import parse_study, run_study
from benchmarks.study.output import Claim, print_claims, print_table, write
from benchmarks.study.statistics import (
    Interval,
    bootstrap,
    by_subject,
    holm,
    level_effect,
    mean_mae,
    settings_of,
    stack,
)
from benchmarks.trials.store import Result
from rppg.peers.config import LEVELS
from rppg.report.figure_style import PALETTE, in_house_style
from rppg.study.plan import Trial
from rppg.synthetic.domains import DOMAINS

NOT_WORSE_BPM = 0.3
"""A level hurts on a source if it raises the error there by more than this."""

MAIN_CLAIMS = {"mask": "wild", "smooth": "wild", "project": "wild"}
"""The source on which each level is claimed to lower the error on the other domains. Written before
the trials; Holm's correction is over these three."""

QUICK = {"train_on": ("webcam", "wild"), "seeds": 2, "subjects": 6, "test_subjects": 3}

Effects = Mapping[str, Mapping[str, Interval]]
"""By source and level: on minus off, in bpm on the targets other than the source."""


def main(command_line: Sequence[str] | None = None) -> None:
    """Compute missing trials, print, write."""
    options = parse_study("ablation", __doc__, QUICK, command_line)
    results = run_study(options)
    failed = [f"{t.title}: {r['failed']}" for t, r in results.items() if "failed" in r]
    if failed:
        print(
            f"\n{len(failed)} trainings diverged, and their seeds are left out: "
            + "; ".join(failed)
        )
    by_source = {
        source: Ablation(source, {t: r for t, r in results.items() if t.trained_on == source})
        for source in options.sources
    }
    for source, ablation in by_source.items():
        print_table(
            f"Trained on {source}: mean over {len(ablation.seeds)} seeds (standard deviation)",
            ("levels on", "MAE, other targets", "MAE, own"),
            [
                (setting, *(_mean_sd(errors) for errors in values.values()))
                for setting, values in ablation.settings().items()
            ],
        )
    effects = {
        source: {level: ablation.effect(level) for level in LEVELS}
        for source, ablation in by_source.items()
    }
    print_table(
        "Effect of each level on the MAE on other targets, bpm (95 % over subjects and seeds)",
        ("level", *effects),
        [(level, *(str(of_source[level]) for of_source in effects.values())) for level in LEVELS],
    )
    claims = judge(effects)
    print_claims(claims)
    write(
        options,
        {
            "main_claims": MAIN_CLAIMS,
            "settings_by_source": {s: ablation.settings() for s, ablation in by_source.items()},
            "effects": {
                source: {level: vars(effect) for level, effect in of_source.items()}
                for source, of_source in effects.items()
            },
            "failed": failed,
        },
        claims,
        draw(effects),
    )


class Ablation:
    """All settings on one source. A seed of which a training diverged is left out."""

    def __init__(self, source: str, results: Mapping[Trial, Result]) -> None:
        self.source = source
        self.others = tuple(name for name in DOMAINS if name != source)
        failed = {trial.seed for trial, result in results.items() if "failed" in result}
        self.seeds = sorted({trial.seed for trial in results} - failed)
        of = {(trial.levels, trial.seed): result for trial, result in results.items()}
        self.points = {
            setting: [of[setting, seed]["points"][0] for seed in self.seeds]
            for setting in settings_of(LEVELS)
        }

    def settings(self) -> dict[str, dict[str, list[float]]]:
        """Return the errors of every setting, one value per seed."""
        return {
            "+".join(setting) or "none": {
                "mae_bpm": [mean_mae(point, self.others) for point in points],
                "own_mae_bpm": [mean_mae(point, [self.source]) for point in points],
            }
            for setting, points in self.points.items()
        }

    def effect(self, level: str) -> Interval:
        """Return the effect of switching a level on."""
        flat = [by_subject(p, self.others) for points in self.points.values() for p in points]
        errors, groups = stack(flat)
        parts = np.split(errors, len(self.points))  # (seeds, subjects) of each setting
        return bootstrap(level_effect(dict(zip(self.points, parts, strict=True)), level), groups)


def judge(effects: Effects) -> list[Claim]:
    """Return the main claims, and the claims of no harm."""
    mains = {level: effects[s][level] for level, s in MAIN_CLAIMS.items() if s in effects}
    corrected = dict(zip(mains, holm([effect.p for effect in mains.values()]), strict=True))
    claims = []
    for level, source in MAIN_CLAIMS.items():
        text = f"{level}: lowers the error on the other domains, trained on {source} (Holm, 0.05)"
        if level not in mains:
            claims.append(Claim(text, "not measured", None))
            continue
        effect = mains[level]
        found = f"{effect}, corrected p {corrected[level]:.3f}"
        claims.append(Claim(text, found, corrected[level] < 0.05 and effect.mean < 0))
    for level in LEVELS:
        others = [source for source in effects if source != MAIN_CLAIMS[level]]
        if others:
            worst = max(others, key=lambda source: effects[source][level].mean)
            effect = effects[worst][level]
            claims.append(
                Claim(
                    f"{level}: hurts on no other source by more than {NOT_WORSE_BPM} bpm",
                    f"worst on {worst}: {effect}",
                    effect.mean <= NOT_WORSE_BPM,
                )
            )
    return claims


@in_house_style
def draw(effects: Effects) -> Figure:
    """Draw each level's effect on each source, with intervals; main claims are filled."""
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    axes = figure.subplots()
    names = list(effects)
    for row, level in enumerate(LEVELS):
        for index, source in enumerate(names):
            effect = effects[source][level]
            y = row + 0.2 * (index - (len(names) - 1) / 2)
            main = MAIN_CLAIMS[level] == source
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


def _mean_sd(values: Sequence[float]) -> str:
    finite = [value for value in values if isfinite(value)]
    if not finite:
        return "–"
    return f"{fmean(finite):.3g} ({stdev(finite) if len(finite) > 1 else 0:.2g})"


if __name__ == "__main__":
    main()
