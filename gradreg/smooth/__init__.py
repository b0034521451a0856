"""Landscape level: descend along the gradient at perturbed weights."""
