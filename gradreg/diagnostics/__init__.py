"""Measure what the three levels claim: calmer gradients, flatter minima, features that stay."""

from gradreg.diagnostics.drift import LayerDrift, RepresentationDrift
from gradreg.diagnostics.oscillation import GradientOscillation, LayerOscillation
from gradreg.diagnostics.sharpness import Sharpness, sharpness

__all__ = [
    "GradientOscillation",
    "LayerDrift",
    "LayerOscillation",
    "RepresentationDrift",
    "Sharpness",
    "sharpness",
]
