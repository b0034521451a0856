"""`rppg export`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rppg.commands.terminal import say


class Format(StrEnum):
    """What can be written."""

    ONNX = "onnx"
    TORCH = "torch"


def export(
    out: Annotated[Path, typer.Option(help="The file: NAME.onnx, or NAME.pt2 for torch.")],
    checkpoint: Annotated[
        Path | None, typer.Argument(help="A network of yours, in place of the shipped one.")
    ] = None,
    kind: Annotated[
        Format, typer.Option("--format", help="ONNX, or torch.export's .pt2.")
    ] = Format.ONNX,
    size: Annotated[
        int | None, typer.Option(min=1, help="Side of the crops it will take, pixels.")
    ] = None,
) -> None:
    """The network as one file that runs without this package; it is held against PyTorch first."""
    from rppg.export.network import export as run

    done = run(checkpoint, out, kind.value, size)
    about = done.about
    say(
        f"{done.path}: {about.input} at {about.fps:g} Hz, {about.least_frames} frames or more; "
        f"differs from PyTorch by {done.difference:.1g} of the pulse's deviation"
    )
