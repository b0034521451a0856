"""Estimators: anything that turns face crops into a BVP."""
