"""What each wrapper costs beside bare AdamW: `python -m benchmarks.overhead`.

Prints, for a small MLP, CNN and transformer, the time of a whole training iteration as a ratio to
bare AdamW's in the same round (median over rounds, quartiles), milliseconds added per million
parameters, and, independent of the machine, ATen operations, floating point operations and peak
memory of an iteration. A projector's time includes one observation of noise with its
eigen-decomposition in every `AMORTISED` iterations. Writes `docs/results/overhead.json` and the
tables of `docs/overhead.md`.
"""

import argparse
import json
import platform
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.overhead.cases import CASES, Case
from benchmarks.overhead.measure import count, interleaved_times
from benchmarks.overhead.variants import VARIANTS, make_iteration
from rppg.atomic import atomic_path

AMORTISED = 100
"""Iterations to an observation of noise."""

PAGE = Path("docs/overhead.md")
MARK = "<!-- tables: python -m benchmarks.overhead -->"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="three rounds, favourable cases")
    parser.add_argument("--out", type=Path, default=Path("docs/results/overhead.json"))
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
    with atomic_path(options.out) as temporary:
        text = json.dumps({"settings": settings, "cases": results}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")
    if not options.quick:
        _replace_tables(PAGE, "\n".join(table(*item) for item in results.items()))


def _replace_tables(page: Path, tables: str) -> None:
    """Put the tables in place of what follows the page's mark."""
    head, _, _ = page.read_text(encoding="utf-8").partition(MARK)
    with atomic_path(page) as temporary:
        temporary.write_text(f"{head}{MARK}\n\n{tables}", encoding="utf-8")


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """One case: its settings and a row for each variant."""
    iterations = {variant: make_iteration(variant, case) for variant in VARIANTS}
    step_s, observation_s = interleaved_times(iterations, rounds)
    millions = next(iter(iterations.values())).parameters / 1e6
    rows = {}
    for name in VARIANTS:
        extra = statistics.median(observation_s[name]) / AMORTISED if observation_s[name] else 0.0
        pairs = list(zip(step_s[name], step_s["bare"], strict=True))
        ratios = [(step + extra) / bare for step, bare in pairs]
        low, median, high = statistics.quantiles(ratios, n=4)
        added_ms = statistics.median(1e3 * (step + extra - bare) for step, bare in pairs)
        counts = count(make_iteration(name, case))
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
    """One case as Markdown."""
    size = "×".join(map(str, result["batch"]))
    lines = [
        f"## {name}",
        "",
        f"{result['parameters'] / 1e6:.2f} M parameters, batch {size}, "
        f"noise rank {result['rank']}, float32; "
        f"bare AdamW {result['bare_ms']:.2f} ms an iteration.",
        "",
        "| variant | time | quartiles | ms / M params | operations | GFLOP | peak MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for variant, row in result["variants"].items():
        low, high = row["quartiles"]
        lines.append(
            f"| {variant} | {row['ratio']:.3f} | {low:.3f}–{high:.3f} | "
            f"{row['ms_per_million_parameters']:.2f} | {row['operations']} | {row['gflop']:.3f} | "
            f"{row['peak_mb']:.1f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
