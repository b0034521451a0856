"""FCUS-rPPG: unsupervised remote photoplethysmography, trained with `gradreg`."""

__version__ = "0.1.0"
