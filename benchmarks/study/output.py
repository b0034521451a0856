"""Claims and whether they hold, and the JSON and the figure that a study writes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

import rppg
from benchmarks.results import markdown_table, write_json
from benchmarks.study.from_study import StudyOptions
from benchmarks.study.options import Options
from rppg.atomic import atomic_path
from rppg.report.figure_style import in_house_style
from rppg.synthetic.domains import DOMAINS


@dataclass(frozen=True)
class Claim:
    """A claim, the numbers found, and whether it holds; None where the study is too small."""

    claim: str
    found: str
    holds: bool | None


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a titled Markdown table."""
    print(f"\n{title}\n")
    print(markdown_table(head, rows))


def print_claims(claims: Sequence[Claim]) -> None:
    """Print which claims hold."""
    print(f"\nClaims\n\n{claims_table(claims)}")


def claims_table(claims: Sequence[Claim]) -> str:
    """Return which claims hold, as Markdown."""
    words = {True: "yes", False: "NO", None: "not asked"}
    rows = [(c.claim, c.found, words[c.holds]) for c in claims]
    return markdown_table(("claim", "found", "holds"), rows)


def write(
    options: Options | StudyOptions,
    results: Mapping[str, Any],
    claims: Sequence[Claim],
    figure: Figure | None = None,
) -> None:
    """Write the JSON, and the figure beside it if there is one."""
    document = {
        "command": options.command,
        **options.about,
        "domains": [domain.key for domain in DOMAINS.values()],
        "versions": {"rppg": rppg.__version__, "torch": torch.__version__},
        "machine": {"cpus": os.cpu_count(), "jobs": options.jobs, "threads": 1},
        "claims": [asdict(claim) for claim in claims],
        **results,
    }
    write_json(options.out, _rounded(document), allow_nan=False)
    print(f"\nwrote {options.out}")
    if figure is not None:
        save_figure(figure, options.out.with_suffix(".svg"))
        print(f"wrote {options.out.with_suffix('.svg')}")


@in_house_style  # the texts in an SVG are drawn, and its names made, when it is saved
def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as SVG, the same bytes each time."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata={"Date": None})


def spread(values: Sequence[float]) -> str:
    """Return the median as text, with lowest and highest where they differ."""
    ordered = sorted(values)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    ends = f"{ordered[0]:.2f}–{ordered[-1]:.2f}"
    return f"{middle:.2f}" + (f" ({ends})" if f"{ordered[0]:.2f}" != f"{ordered[-1]:.2f}" else "")


def _rounded(value: Any) -> Any:
    """Return JSON values: floats with four decimals, null for those that aren't finite."""
    if isinstance(value, float):
        return round(value, 4) if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
