"""Synthetic face video with ground truth: drawn people, rendered by a physical model."""
