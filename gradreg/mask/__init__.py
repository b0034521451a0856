"""Gradient level: what fails verification contributes no gradient."""
