"""Synthetic domains: face video from physiology up, with ground truth, made on the spot."""
