"""A trained network as a file that runs without this package: ONNX, or PyTorch's own `.pt2`."""

from rppg.export.network import About, Exported, describe, export, run_onnx

__all__ = ["About", "Exported", "describe", "export", "run_onnx"]
