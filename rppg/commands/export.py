"""`rppg export`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rppg.commands.terminal import print_line


class Format(StrEnum):
    """The format of an exported file."""

    ONNX = "onnx"
    TORCH = "torch"


def export(
    out: Annotated[Path, typer.Option(help="The file to write: NAME.onnx, or NAME.pt2 for torch.")],
    checkpoint: Annotated[
        Path | None, typer.Argument(help="Your own network; by default the shipped one.")
    ] = None,
    kind: Annotated[
        Format, typer.Option("--format", help="ONNX, or the .pt2 of torch.export.")
    ] = Format.ONNX,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the crops in pixels.")] = None,
) -> None:
    """Write a network as one file that runs without this package; its output is checked first."""
    from rppg.export.network import export as run

    exported = run(checkpoint, out, kind.value, size)
    metadata = exported.metadata
    print_line(
        f"{exported.path}: {metadata.input} at {metadata.fps:g} Hz, {metadata.least_frames} frames "
        f"or more; differs from PyTorch by {exported.difference:.1g} of the pulse's deviation"
    )
