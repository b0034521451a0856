"""Datasets: opened by a SPEC, listed as recordings, checked, and written."""
