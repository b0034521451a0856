"""`rppg demo`."""

from pathlib import Path
from typing import Annotated

import typer

from rppg.commands.terminal import progress_bars, say, stdout


def demo(
    out: Annotated[Path, typer.Option(help="Folder for report, metrics and checkpoint.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[
        int, typer.Option(help="Random seed: the same seed gives the same result.")
    ] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the data.")] = False,
) -> None:
    """Train one epoch on a synthetic camera; evaluate on three; write a report."""
    from rppg.demo import demo as run
    from rppg.report import score_table

    with progress_bars() as bars:
        result = run(out, seed=seed, quick=quick, stage=bars.stage, progress=bars.training)
    stdout.print(score_table(result.evaluation))
    gain = result.gain
    say(
        f"Trained less untrained on the training camera: {gain.mean_bpm:+.2f} bpm, 95 % interval "
        f"over {gain.n_subjects} subjects {gain.low_bpm:+.2f} to {gain.high_bpm:+.2f}."
    )
    say(f"Report: {result.report}")
