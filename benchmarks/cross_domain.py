"""Does what is learned on one camera carry to another? `python -m benchmarks.cross_domain`.

Trains FCUS-rPPG for one epoch, and two unsupervised peers, on each of the five synthetic domains,
and evaluates each on all of them; beside them a constant guess, classical methods, and the network
before training. Prints the matrix, the columns, and which claims hold; writes
`docs/results/cross_domain.json` and `.svg`. Finished runs are kept: a killed program goes on.
"""

from collections.abc import Sequence
from statistics import fmean, median

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import beta

from benchmarks.claims.matrix import TARGETS, Columns, Table
from benchmarks.claims.options import (
    Budget,
    Claim,
    parse,
    show_claims,
    show_table,
    write,
)
from benchmarks.claims.statistics import Interval, Point, coverage, guess_mae, mean_mae
from benchmarks.claims.stored import Result, make_all
from rppg.report.figure_style import MARKERS, PALETTE, in_house_style
from rppg.synthetic.domains import DOMAINS

CLASSICAL = ("green", "ica", "omit", "chrom", "pos")
HARD = ("wild", "mobile")
EASY = ("lab", "webcam")
QUICK = Budget(
    ("webcam", "wild"), 2, subjects=6, test_subjects=3, peer_minutes=0.1, curve_subjects=1
)
FULL = Budget(TARGETS, 6)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, print, write."""
    options = parse("cross_domain", __doc__, QUICK, FULL, arguments)
    budget = options.budget
    seeds, sources = range(budget.seeds), budget.sources
    peers = [
        budget.run(peer, source, seed)
        for peer in budget.peers
        for source in sources
        for seed in range(budget.peer_seeds)
    ]
    untrained = [budget.run("untrained", seed=seed) for seed in seeds]
    still = [budget.run(method) for method in CLASSICAL]
    ours = [budget.run("fcus", source, seed) for source in sources for seed in seeds]
    wanted = [*peers, *untrained, *still, *ours]
    found = dict(zip(wanted, make_all(options.runs, wanted, jobs=options.jobs), strict=True))
    table = Table(
        sources,
        fcus={s: [found[run] for run in ours if run.source == s] for s in sources},
        untrained=[found[run] for run in untrained],
        classical={run.learner: found[run] for run in still},
        peers={
            peer: {
                s: [found[r] for r in peers if (r.learner, r.source) == (peer, s)] for s in sources
            }
            for peer in budget.peers
        },
    )
    show_table(
        "FCUS, one epoch: MAE in bpm, median over seeds (lowest–highest)",
        ("trained on", *TARGETS),
        table.matrix_lines(),
    )
    columns = table.columns()
    show_table(
        "MAE in bpm from foreign sources (mean over them of the median over seeds)",
        ("method", *TARGETS, "mean"),
        [
            (
                row,
                *(f"{columns[row][t]:.2f}" for t in TARGETS),
                f"{fmean(columns[row].values()):.2f}",
            )
            for row in columns
        ],
    )
    differences = table.differences()
    show_table(
        "FCUS less the untrained network, bpm, 95 % interval over subjects",
        ("trained on", *TARGETS),
        [(s, *(str(differences[s, t]) for t in TARGETS)) for s in sources],
    )
    claims = [*carries_over(table, columns), *does_no_harm(differences), *no_collapse(table)]
    show_claims(claims)
    write(
        options,
        {
            "matrix": table.matrix(),
            "columns": columns,
            "pearson": table.correlations(),
            "less_untrained": {f"{s}>{t}": vars(d) for (s, t), d in differences.items()},
            "coverage": table.coverages(),
            "peers": table.peer_stories(),
        },
        claims,
        draw(columns, budget.peers),
    )


def carries_over(table: Table, columns: Columns) -> list[Claim]:
    """Column by column, and averaged over the cells off the diagonal."""
    claims = []
    rivals = ("CHROM", *table.peers)
    for target in TARGETS:
        bounds = {"max(1, POS)": max(1.0, columns["POS"][target])}
        bounds |= {name: columns[name][target] for name in rivals}
        lowest = min(bounds, key=lambda name: bounds[name])
        ours = columns["fcus"][target]
        claims.append(
            Claim(
                f"{target}: FCUS from foreign sources ≤ max(1, POS), CHROM and every peer",
                f"{ours:.2f}; {lowest} {bounds[lowest]:.2f}",
                ours <= bounds[lowest],
            )
        )
    # Every cell counts once: with all five sources that is the mean over the columns.
    count = {t: len(table.foreign(t)) for t in TARGETS}
    off = {
        row: sum(columns[row][t] * count[t] for t in TARGETS) / sum(count.values())
        for row in ("fcus", "POS", "constant guess", "untrained")
    }
    for rival, share in (("POS", 0.5), ("constant guess", 0.5), ("untrained", 0.8)):
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
    """No foreign camera loses more than half a bpm by training."""
    foreign = {cell: d for cell, d in differences.items() if cell[0] != cell[1]}
    worst = max(foreign, key=lambda cell: foreign[cell].high)
    return [
        Claim(
            "trained on any one camera, another loses ≤ 0.5 bpm (upper end of the interval)",
            f"worst {worst[0]} → {worst[1]}: {foreign[worst]}",
            foreign[worst].high <= 0.5,
        )
    ]


def no_collapse(table: Table) -> list[Claim]:
    """The worst seed, and runs that diverged."""
    gaps = {
        (s, t): max(table.cell("fcus", s, t)) - median(table.cell("fcus", s, t))
        for s in table.sources
        for t in EASY
    }
    worst = max(gaps, key=lambda cell: gaps[cell])
    seeds = min(len(runs) for runs in table.fcus.values())
    runs = [run for by_source in table.fcus.values() for run in by_source]
    diverged = [run for run in runs if has_diverged(run, table.untrained[0]["points"][0])]
    highest = upper_rate(len(diverged), len(runs))
    return [
        Claim(
            f"worst of {seeds} seeds within 1.5 bpm of the median on {' and '.join(EASY)}",
            f"{worst[0]} → {worst[1]}: {gaps[worst]:+.2f}",
            gaps[worst] <= 1.5 if seeds >= 5 else None,
        ),
        Claim(
            "no run diverged (of 30 or more: a rate of 10 % or higher is then excluded with 95 %)",
            f"{len(diverged)} of {len(runs)}; rate below {highest:.1%}",
            not diverged if len(runs) >= 30 else None,
        ),
    ]


def has_diverged(run: Result, reference: Point) -> bool:
    """Whether its loss became infinite, it gives no estimates, or it is worse than guessing."""
    points = [point for point in run["points"] if point["epoch"] == 1]
    if "failed" in run or not points:
        return True
    if min(coverage(points[0], t) for t in TARGETS) < 0.9:
        return True
    middle = sum(DOMAINS[run["run"]["source"]].hr_bpm) / 2
    guess = fmean(guess_mae(reference, t, middle) for t in TARGETS)
    return mean_mae(points[0], TARGETS) >= guess


def upper_rate(events: int, runs: int) -> float:
    """Upper end of the one-sided 95 % Clopper–Pearson interval of a rate."""
    return float(beta.ppf(0.95, events + 1, runs - events)) if events < runs else 1.0


@in_house_style
def draw(columns: Columns, peers: Sequence[str]) -> Figure:
    """Error on each target, from foreign sources."""
    rows = ("constant guess", "POS", "CHROM", *peers, "untrained", "fcus")
    picture = Figure(figsize=(7.5, 3.8), layout="constrained")
    axes = picture.subplots()
    for number, row in enumerate(rows):
        at = np.arange(len(TARGETS)) + 0.09 * (number - (len(rows) - 1) / 2)
        own = row == "fcus"
        axes.plot(
            at,
            [columns[row][t] for t in TARGETS],
            MARKERS[number],
            color=PALETTE[0] if own else "0.55",
            markersize=9 if own else 6,
            markerfacecolor=PALETTE[0] if own else "none",
            label={"fcus": "FCUS, one epoch", "untrained": "FCUS, untrained"}.get(row, row),
        )
    axes.set_xticks(range(len(TARGETS)), TARGETS)
    axes.set(
        yscale="log",
        ylabel="mean absolute error (bpm)",
        title="Error on a camera that was not trained on",
    )
    axes.set_yticks([0.3, 1, 3, 10, 30], ["0.3", "1", "3", "10", "30"])
    axes.minorticks_off()
    axes.grid(visible=False, axis="x")
    picture.legend(loc="outside right center")
    return picture


if __name__ == "__main__":
    main()
