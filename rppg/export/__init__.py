"""Export of a trained network to a file that runs without this package: ONNX or `.pt2`."""

from typing import TYPE_CHECKING

from rppg.export.network import ExportedNetwork, Metadata, describe, export, run_onnx
from rppg.renamed import renamed

__all__ = ["ExportedNetwork", "Metadata", "describe", "export", "run_onnx"]

if not TYPE_CHECKING:
    __getattr__ = renamed(
        __name__,
        {
            "About": ("rppg.export.network.Metadata", Metadata),
            "Exported": ("rppg.export.network.ExportedNetwork", ExportedNetwork),
        },
    )
