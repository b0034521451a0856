"""Transfer between all eight synthetic domains: `python -m benchmarks.all_domains`.

The study `benchmarks/studies/all_domains.toml`: FCUS-rPPG, trained for one epoch on each domain,
tested on all; beside the untrained network, and POS and CHROM with the skin mask. Prints the
matrix, the columns, and which claims about the filmed domains hold; writes
`docs/results/all_domains.json`. Finished trials are stored, so an interrupted program continues;
`--sources` and `--seeds` choose a part.

The untrained network that trained ones are compared with, and the oracle, are those of
`benchmarks.domain_calibration`, which froze the domains.
"""

import json
from collections.abc import Sequence
from statistics import median

from benchmarks.results import RESULTS
from benchmarks.study.from_study import parse_study, run_study
from benchmarks.study.output import Claim, print_claims, print_table, write
from benchmarks.study.transfer import (
    Columns,
    TransferTable,
    print_train_seconds,
    transfer_table,
)
from rppg.synthetic.all_domains import ALL_DOMAINS
from rppg.synthetic.filmed.domains import FILMED_DOMAINS

WITH_SKIN = ("CHROM, skin mask", "POS, skin mask")
QUICK = {"train_on": ("webcam", "dim"), "seeds": 1, "subjects": 6, "test_subjects": 2}


def main(command_line: Sequence[str] | None = None) -> None:
    """Compute missing trials, print, write."""
    options = parse_study("all_domains", __doc__, QUICK, command_line)
    table = transfer_table(options, run_study(options))
    targets = table.targets
    print_table(
        "FCUS, one epoch: MAE in bpm, median over seeds (lowest–highest)",
        ("trained on", *targets),
        table.matrix_rows(),
    )
    print_train_seconds(table)
    columns = table.columns() | {"fcus, median": median_columns(table)}
    print_table(
        "MAE in bpm; trained networks from foreign sources, their mean and their median",
        ("method", *targets),
        [(row, *(f"{columns[row][t]:.2f}" for t in targets)) for row in columns],
    )
    differences = table.differences()
    print_table(
        "FCUS minus the untrained network, bpm, 95 % interval over subjects",
        ("trained on", *targets),
        [(s, *(str(differences[s, t]) for t in targets)) for s in table.sources],
    )
    claims = [*carries_over(columns), *does_no_harm(table, columns)]
    print_claims(claims)
    write(
        options,
        {
            "domains": [ALL_DOMAINS[target].key for target in targets],
            "matrix": table.matrix(),
            "columns": columns,
            "train_s": table.train_seconds(),
            "less_untrained": {f"{s}>{t}": vars(d) for (s, t), d in differences.items()},
        },
        claims,
    )


def median_columns(table: TransferTable) -> dict[str, float]:
    """Return FCUS's error on each target, the median over foreign sources of that over seeds."""
    return {
        t: median(median(table.cell("fcus", s, t)) for s in table.foreign(t)) for t in table.targets
    }


def carries_over(columns: Columns) -> list[Claim]:
    """Return claims about each filmed domain, trained on others."""
    calibration = json.loads((RESULTS / "domain_calibration.json").read_text(encoding="utf-8"))
    claims = []
    for name, domain in FILMED_DOMAINS.items():
        if name not in columns["fcus, median"]:  # a smaller study
            continue
        found = calibration["domains"][domain.key]
        (untrained, _), (oracle, _) = found["untrained"], found["oracle"]
        classical = min(columns[method][name] for method in WITH_SKIN)
        bounds = {
            f"half of the untrained network's {untrained:.2f}": 0.5 * untrained,
            f"a quarter of the best classical method's {classical:.2f}": 0.25 * classical,
            f"twice the oracle's {oracle:.2f}, or 2": max(2 * oracle, 2.0),
        }
        ours = columns["fcus, median"][name]
        claims += [
            Claim(f"{name} from foreign sources ≤ {words}", f"{ours:.2f}", ours <= bound)
            for words, bound in bounds.items()
        ]
    return claims


def does_no_harm(table: TransferTable, columns: Columns) -> list[Claim]:
    """Return the claim that training costs no domain more than 0.1 bpm."""
    losses = {
        (s, t): median(table.cell("fcus", s, t)) - columns["untrained"][t]
        for s in table.sources
        for t in table.targets
    }
    worst = max(losses, key=lambda cell: losses[cell])
    return [
        Claim(
            "trained on any domain, none loses more than 0.1 bpm (median over seeds)",
            f"worst {worst[0]} → {worst[1]}: {losses[worst]:+.2f}",
            losses[worst] <= 0.1,
        )
    ]


if __name__ == "__main__":
    main()
