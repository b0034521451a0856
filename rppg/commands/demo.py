"""`rppg demo`."""

from pathlib import Path
from typing import Annotated

import typer

from rppg.commands.terminal import print_line, progress_bars, stdout


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the report, metrics and checkpoint.")
    ] = Path("runs/demo"),
    seed: Annotated[
        int, typer.Option(help="Random seed; the same seed gives the same result.")
    ] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Use a tenth of the people.")] = False,
) -> None:
    """Train for one epoch on a synthetic camera, evaluate on three, and write a report."""
    from rppg.demo import demo as run
    from rppg.report import score_table

    with progress_bars() as bars:
        result = run(out, seed=seed, quick=quick, stage=bars.stage, progress=bars.training)
    stdout.print(score_table(result.evaluation))
    gain = result.gain
    print_line(
        f"Error on the training camera, trained minus untrained: {gain.mean_bpm:+.2f} bpm, 95 % "
        f"interval over {gain.n_subjects} subjects {gain.low_bpm:+.2f} to {gain.high_bpm:+.2f}."
    )
    print_line(f"Report: {result.report}")
