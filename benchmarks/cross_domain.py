"""Transfer between domains: `python -m benchmarks.cross_domain`.

The study `benchmarks/studies/cross_domain.toml`: FCUS-rPPG, trained for one epoch on each of the
five synthetic domains, and unsupervised peers (`--peers`), tested on all domains; beside a constant
guess, classical methods, and the untrained network. The same networks and some methods are tested
with continuity, too, and two classical methods with the network's verification. Prints the matrix,
the columns, and which claims hold; writes `docs/results/cross_domain.json` and `.svg`. Finished
trials are stored, so an interrupted program continues.
"""

from collections.abc import Sequence
from statistics import fmean, median

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import beta

from benchmarks.study.from_study import StudyOptions, add_column, parse_study, run_study
from benchmarks.study.output import Claim, print_claims, print_table, write
from benchmarks.study.statistics import Interval, Point, coverage, guess_mae, mean_mae
from benchmarks.study.transfer import (
    TARGETS,
    WITH_CONTINUITY,
    Columns,
    TransferTable,
    print_train_seconds,
    transfer_table,
)
from benchmarks.trials.evaluation import CONTINUOUS
from benchmarks.trials.store import Result, run_all, trial_store
from benchmarks.trials.trial_settings import FILTERED, Trial
from rppg.report.figure_style import MARKERS, PALETTE, in_house_style
from rppg.study.config import EvaluationConfig
from rppg.synthetic.domains import DOMAINS

HARD = ("wild", "mobile")
EASY = ("lab", "webcam")
QUICK = {"train_on": ("webcam", "wild"), "seeds": 2, "subjects": 6, "test_subjects": 3}


def main(command_line: Sequence[str] | None = None) -> None:
    """Compute missing trials, print, write."""
    options = parse_study("cross_domain", __doc__, QUICK, command_line)
    table = measure(options)
    print_table(
        "FCUS, one epoch: MAE in bpm, median over seeds (lowest–highest)",
        ("trained on", *TARGETS),
        table.matrix_rows(),
    )
    print_train_seconds(table)
    columns = table.columns()
    continuity = table.continuity()
    rows = columns | continuity
    print_table(
        "MAE in bpm from foreign sources (mean over them of the median over seeds)",
        ("method", *TARGETS, "mean"),
        [
            (
                row,
                *(f"{rows[row][t]:.2f}" for t in TARGETS),
                f"{fmean(rows[row].values()):.2f}",
            )
            for row in rows
        ],
    )
    differences = table.differences()
    print_table(
        "FCUS minus the untrained network, bpm, 95 % interval over subjects",
        ("trained on", *TARGETS),
        [(s, *(str(differences[s, t]) for t in TARGETS)) for s in table.sources],
    )
    claims = [*carries_over(table, columns), *does_no_harm(differences), *no_collapse(table)]
    print_claims(claims)
    write(
        options,
        {
            "matrix": table.matrix(),
            "columns": columns,
            "continuity": continuity,
            "pearson": table.correlations(),
            "less_untrained": {f"{s}>{t}": vars(d) for (s, t), d in differences.items()},
            "coverage": table.coverages(),
            "peers": table.peer_trainings(),
            "train_s": table.train_seconds(),
        },
        claims,
        draw(columns, tuple(table.peers)),
    )


def measure(options: StudyOptions) -> TransferTable:
    """Return the results of the study, of it with continuity, and of the verified methods."""
    study = options.study
    results = run_study(options)
    chosen = [method for method in WITH_CONTINUITY if method in study.methods]
    again = {"evaluation": EvaluationConfig(continuity=True), "methods": tuple(chosen)}
    add_column(results, CONTINUOUS, run_study(options, study.model_copy(update=again)))
    size = {"split": study.test_split, "test_subjects": study.test_subjects}
    trials = [Trial(method, **size) for method in FILTERED]
    filtered = run_all(trial_store(), trials, jobs=options.jobs)
    return transfer_table(options, results, filtered)


def carries_over(table: TransferTable, columns: Columns) -> list[Claim]:
    """Return claims about each column, and about the mean off the diagonal."""
    claims = []
    rivals = ("CHROM", "CHROM, skin mask", *table.peers)
    for target in TARGETS:
        bounds = {f"max(1, {n})": max(1.0, columns[n][target]) for n in ("POS", "POS, skin mask")}
        bounds |= {name: columns[name][target] for name in rivals}
        lowest = min(bounds, key=lambda name: bounds[name])
        ours = columns["fcus"][target]
        claims.append(
            Claim(
                f"{target}: FCUS from foreign sources ≤ max(1, POS), CHROM, also with skin mask, "
                "and every peer",
                f"{ours:.2f}; {lowest} {bounds[lowest]:.2f}",
                ours <= bounds[lowest],
            )
        )
    # Every cell counts once. With all five sources this is the mean over the columns.
    count = {t: len(table.foreign(t)) for t in TARGETS}
    off = {
        row: sum(columns[row][t] * count[t] for t in TARGETS) / sum(count.values())
        for row in ("fcus", "POS", "POS, skin mask", "constant guess", "untrained")
    }
    for rival, share in (
        ("POS", 0.5),
        ("POS, skin mask", 0.5),
        ("constant guess", 0.5),
        ("untrained", 0.8),
    ):
        claims.append(
            Claim(
                f"off the diagonal: FCUS ≤ {share:g} × {rival}",
                f"{off['fcus']:.2f}; {share:g} × {off[rival]:.2f}",
                off["fcus"] <= share * off[rival],
            )
        )
    r = {
        target: [v for v in values if np.isfinite(v)]
        for target, values in table.correlations().items()
    }
    middle = {target: median(values) if values else float("nan") for target, values in r.items()}
    claims.append(
        Claim(
            "Pearson r ≥ 0.5 in every column (median over foreign sources and seeds)",
            ", ".join(
                f"{t} {middle[t]:.2f} (least {min(r[t], default=float('nan')):.2f})"
                for t in TARGETS
            ),
            all(value >= 0.5 for value in middle.values()),
        )
    )
    claims += [
        Claim(
            f"{target} ≤ 6 bpm from foreign sources",
            f"{columns['fcus'][target]:.2f}",
            columns["fcus"][target] <= 6,
        )
        for target in HARD
    ]
    return claims


def does_no_harm(differences: dict[tuple[str, str], Interval]) -> list[Claim]:
    """Return the claim that training costs no foreign domain more than half a bpm."""
    foreign = {cell: d for cell, d in differences.items() if cell[0] != cell[1]}
    worst = max(foreign, key=lambda cell: foreign[cell].high)
    return [
        Claim(
            "trained on any one domain, another loses ≤ 0.5 bpm (upper end of the interval)",
            f"worst {worst[0]} → {worst[1]}: {foreign[worst]}",
            foreign[worst].high <= 0.5,
        )
    ]


def no_collapse(table: TransferTable) -> list[Claim]:
    """Return claims about the worst seed, and about trainings that diverged."""
    gaps = {
        (s, t): max(table.cell("fcus", s, t)) - median(table.cell("fcus", s, t))
        for s in table.sources
        for t in EASY
    }
    worst = max(gaps, key=lambda cell: gaps[cell])
    seeds = min(len(results) for results in table.fcus.values())
    results = [result for by_source in table.fcus.values() for result in by_source]
    reference = table.untrained[0]["points"][0]
    diverged = [result for result in results if has_diverged(result, reference)]
    highest = upper_rate(len(diverged), len(results))
    return [
        Claim(
            f"worst of {seeds} seeds within 1.5 bpm of the median on {' and '.join(EASY)}",
            f"{worst[0]} → {worst[1]}: {gaps[worst]:+.2f}",
            gaps[worst] <= 1.5 if seeds >= 5 else None,
        ),
        Claim(
            "no training diverged (none of 30 excludes a rate of 10 % with 95 % confidence)",
            f"{len(diverged)} of {len(results)}; rate below {highest:.1%}",
            not diverged if len(results) >= 30 else None,
        ),
    ]


def has_diverged(result: Result, reference: Point) -> bool:
    """Return whether the loss is infinite, estimates are missing, or guessing is better."""
    points = [point for point in result["points"] if point["epoch"] == 1]
    if "failed" in result or not points:
        return True
    if min(coverage(points[0], t) for t in TARGETS) < 0.9:
        return True
    middle = sum(DOMAINS[result["trial"]["source"]].hr_bpm) / 2
    guess = fmean(guess_mae(reference, t, middle) for t in TARGETS)
    return mean_mae(points[0], TARGETS) >= guess


def upper_rate(events: int, trials: int) -> float:
    """Return the upper end of the one-sided 95 % Clopper–Pearson interval of a rate."""
    return float(beta.ppf(0.95, events + 1, trials - events)) if events < trials else 1.0


@in_house_style
def draw(columns: Columns, peers: Sequence[str]) -> Figure:
    """Draw the error on each target, from foreign sources."""
    with_skin = {name: f"{name}, skin mask" for name in ("POS", "CHROM")}
    plain = ["constant guess", *with_skin, *peers, "untrained", "fcus"]
    rows = [row for name in plain for row in (name, with_skin.get(name)) if row]
    figure = Figure(figsize=(7.5, 3.8), layout="constrained")
    axes = figure.subplots()
    for index, row in enumerate(rows):
        own, masked = row == "fcus", row in with_skin.values()
        colour = PALETTE[0] if own else "0.55"
        axes.plot(
            np.arange(len(TARGETS)) + 0.08 * (index - (len(rows) - 1) / 2),
            [columns[row][t] for t in TARGETS],
            MARKERS[plain.index(row.removesuffix(", skin mask"))],  # filled: with the mask
            color=colour,
            markersize=9 if own else 6,
            markerfacecolor=colour if own or masked else "none",
            label={"fcus": "FCUS, one epoch", "untrained": "FCUS, untrained"}.get(row, row),
        )
    axes.set_xticks(range(len(TARGETS)), TARGETS)
    axes.set(
        yscale="log",
        ylabel="mean absolute error (bpm)",
        title="Error on a domain that was not trained on",
    )
    axes.set_yticks([0.3, 1, 3, 10, 30], ["0.3", "1", "3", "10", "30"])
    axes.minorticks_off()
    axes.grid(visible=False, axis="x")
    figure.legend(loc="outside right center")
    return figure


if __name__ == "__main__":
    main()
