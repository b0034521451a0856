"""Splines against SciPy's."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from rppg.signals.spline import evaluate_spline, spline_coefficients


@pytest.mark.parametrize("n", [4, 5, 200])
def test_splines_are_scipys(n: int) -> None:
    rng = np.random.default_rng(n)
    for times in (np.arange(n, dtype=float), np.arange(n) / 30, np.cumsum(rng.uniform(0.1, 1, n))):
        values = rng.standard_normal(n)
        expected = CubicSpline(times, values)
        coefficients = spline_coefficients(times, values)
        np.testing.assert_allclose(coefficients, expected.c, rtol=1e-9, atol=1e-9)
        at = np.concatenate([times, rng.uniform(times[0], times[-1], 50)])
        found = evaluate_spline(times, coefficients, at)
        np.testing.assert_allclose(found, expected(at), rtol=1e-12, atol=1e-12)
