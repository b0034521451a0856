"""Optimizer wrappers that calm oscillating gradients at three levels."""

__version__ = "0.1.0"
