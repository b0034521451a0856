"""The README's chart of the errors by method and domain: `python -m benchmarks.readme_chart`.

Draws `docs/results/cross_domain.json`: mean absolute errors on the five synthetic domains, of FCUS
trained on other domains only, and of methods that aren't trained. Writes `docs/assets/results.svg`.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.results import RESULTS
from rppg.atomic import atomic_path
from rppg.report.figure_style import PALETTE, in_house_style

ROWS = {
    "FCUS, one epoch": "fcus",
    "FCUS, untrained": "untrained",
    "POS, skin mask": "POS, skin mask",
    "POS": "POS",
    "CHROM, skin mask": "CHROM, skin mask",
    "CHROM": "CHROM",
    "constant guess": "constant guess",
}
"""The chart's rows, by the names of the columns in the results."""

DOMAINS = {
    "lab": "still or moving,\nno compression",
    "webcam": "webcam,\nlight of a screen",
    "wild": "large motion,\nflickering light",
    "codec": "MPEG-4\ncompression",
    "mobile": "H.264, walking,\ndarker skin",
}
"""The domains and what is hard in them."""


def main() -> None:
    """Read the results, draw, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.readme_chart", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--results", type=Path, default=RESULTS / "cross_domain.json")
    parser.add_argument("--out", type=Path, default=Path("docs/assets/results.svg"))
    options = parser.parse_args()
    columns = json.loads(options.results.read_text(encoding="utf-8"))["columns"]
    save(draw({row: columns[name] for row, name in ROWS.items()}), options.out)
    print(f"wrote {options.out}")


@in_house_style
def save(figure: Figure, path: Path) -> None:
    """Write the figure; its suffix chooses the format."""
    with atomic_path(path) as temporary:
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(temporary, metadata=metadata, facecolor="white", dpi=120)


@in_house_style
def draw(errors: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw one panel of bars per domain, each bar with its number."""
    figure = Figure(figsize=(9.2, 3.3), layout="constrained")
    panels = figure.subplots(1, len(DOMAINS), sharey=True)
    names = list(errors)
    for axes, (domain, difficulty) in zip(panels, DOMAINS.items(), strict=True):
        values = [errors[name][domain] for name in names]
        colours = [PALETTE[0] if name == names[0] else "#c4c9cf" for name in names]
        axes.barh(range(len(names)), values, color=colours, height=0.68)
        for y, value in enumerate(values):
            axes.annotate(
                f"{value:.2f}" if value < 10 else f"{value:.1f}",
                (value, y),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                color=PALETTE[0] if y == 0 else "0.25",
                fontweight="bold" if y == 0 else "normal",
            )
        axes.set(xlim=(0, 36), xticks=[])
        axes.set_title(domain, loc="left", fontweight="bold")
        axes.set_xlabel(difficulty, loc="left", fontsize=8.5, color="0.35")
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(length=0)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].get_yticklabels()[0].set(color=PALETTE[0], fontweight="bold")
    panels[0].invert_yaxis()
    figure.suptitle(
        "Mean absolute error of heart rates in 10 s windows, bpm; FCUS trained on other domains",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    return figure


if __name__ == "__main__":
    main()
