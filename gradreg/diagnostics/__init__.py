"""Measures of the three levels' effects: calmer gradients, flatter minima, stable features."""

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
