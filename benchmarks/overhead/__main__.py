"""Cost of each wrapper, compared with bare AdamW: `python -m benchmarks.overhead`.

Prints, for a small MLP, CNN and transformer, the time of a whole training iteration as a ratio to
bare AdamW's in the same round (median over rounds, quartiles), and milliseconds added per million
parameters. Prints, independent of the machine, ATen operations, floating point operations and peak
memory of an iteration. A projector's time includes one observation of noise with its
eigen-decomposition per `AMORTISED` iterations. Writes `docs/results/overhead.json` and the tables
of `docs/overhead.md`.
"""

import platform
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.overhead.cases import CASES, Case
from benchmarks.overhead.measure import count, interleaved_times
from benchmarks.overhead.variants import VARIANTS, build_iteration
from benchmarks.results import arguments, markdown_table, replace_tables, write_json

AMORTISED = 100
"""Iterations per observation of noise."""

PAGE = Path("docs/overhead.md")
MARK = "<!-- tables: python -m benchmarks.overhead -->"


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__, "overhead")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="three rounds, favourable cases")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cases = CASES[:3] if options.quick else CASES
    rounds = 3 if options.quick else options.rounds
    results = {}
    for case in cases:
        results[case.name] = measure(case, rounds)
        print(table(case.name, results[case.name]), flush=True)
    settings = {
        "rounds": rounds,
        "threads": options.threads,
        "amortised_over": AMORTISED,
        "dtype": "float32",
        "base": "torch.optim.AdamW",
        "torch": torch.__version__,
        "pytorch_optimizer": version("pytorch_optimizer"),
        "machine": platform.machine(),
    }
    write_json(options.out, {"settings": settings, "cases": results})
    if not options.quick:
        replace_tables(PAGE, "\n".join(table(*item) for item in results.items()), MARK)


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Return a case's settings and a row for each variant."""
    iterations = {variant: build_iteration(variant, case) for variant in VARIANTS}
    step_s, observation_s = interleaved_times(iterations, rounds)
    millions = next(iter(iterations.values())).parameters / 1e6
    rows = {}
    for name in VARIANTS:
        extra = statistics.median(observation_s[name]) / AMORTISED if observation_s[name] else 0.0
        pairs = list(zip(step_s[name], step_s["bare"], strict=True))
        ratios = [(step + extra) / bare for step, bare in pairs]
        low, median, high = statistics.quantiles(ratios, n=4)
        added_ms = statistics.median(1e3 * (step + extra - bare) for step, bare in pairs)
        counts = count(build_iteration(name, case))
        rows[name] = {
            "ratio": round(median, 4),
            "quartiles": [round(low, 4), round(high, 4)],
            "ms_per_million_parameters": round(added_ms / millions, 4),
            "operations": counts.operations,
            "gflop": round(counts.gflop, 4),
            "peak_mb": round(counts.peak_mb, 3),
        }
    return {
        "parameters": round(millions * 1e6),
        "batch": case.batch,
        "rank": case.rank,
        "bare_ms": round(1e3 * statistics.median(step_s["bare"]), 4),
        "variants": rows,
    }


def table(name: str, result: dict[str, Any]) -> str:
    """Return a case as Markdown."""
    size = "×".join(map(str, result["batch"]))
    head = ["variant", "time", "quartiles", "ms / M params", "operations", "GFLOP", "peak MB"]
    rows = [
        (
            variant,
            f"{row['ratio']:.3f}",
            "–".join(f"{quartile:.3f}" for quartile in row["quartiles"]),
            f"{row['ms_per_million_parameters']:.2f}",
            row["operations"],
            f"{row['gflop']:.3f}",
            f"{row['peak_mb']:.1f}",
        )
        for variant, row in result["variants"].items()
    ]
    return (
        f"## {name}\n\n"
        f"{result['parameters'] / 1e6:.2f} M parameters, batch {size}, "
        f"noise rank {result['rank']}, float32; "
        f"bare AdamW {result['bare_ms']:.2f} ms an iteration.\n\n"
        f"{markdown_table(head, rows, align=['---:'])}\n"
    )


if __name__ == "__main__":
    main()
