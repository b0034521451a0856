"""Cubic splines through samples, as `scipy.interpolate.CubicSpline`, which is slow to import."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_banded

Array = NDArray[np.float64]


def spline_coefficients(times: Array, values: Array) -> Array:
    """Return the coefficients `(4, N - 1)` of the spline's pieces, of the third power first.

    The third derivative is continuous at the second knot and at the last but one.

    Args:
        times: `(N,)` increasing, N ≥ 4.
        values: `(N,)`.
    """
    step = np.diff(times)
    slope = np.diff(values) / step
    system, target = np.zeros((3, len(times))), np.empty(len(times))
    system[1, 1:-1] = 2 * (step[:-1] + step[1:])
    system[0, 2:] = step[:-1]
    system[2, :-2] = step[1:]
    target[1:-1] = 3 * (step[1:] * slope[:-1] + step[:-1] * slope[1:])
    first, last = times[2] - times[0], times[-1] - times[-3]
    system[1, 0], system[0, 1] = step[1], first
    target[0] = ((step[0] + 2 * first) * step[1] * slope[0] + step[0] ** 2 * slope[1]) / first
    system[1, -1], system[2, -2] = step[-2], last
    target[-1] = (step[-1] ** 2 * slope[-2] + (2 * last + step[-1]) * step[-2] * slope[-1]) / last
    derivative = solve_banded((1, 1), system, target, check_finite=False)
    bend = (derivative[:-1] + derivative[1:] - 2 * slope) / step
    return np.stack(
        [bend / step, (slope - derivative[:-1]) / step - bend, derivative[:-1], values[:-1]]
    )


def evaluate_spline(times: Array, coefficients: Array, at: Array) -> Array:
    """Return the spline's values `(M,)` at some times `(M,)`."""
    piece = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    s = at - times[piece]
    c3, c2, c1, c0 = coefficients[:, piece]
    return np.asarray(c0 + c1 * s + c2 * (s * s) + c3 * (s * s * s))
