"""Butterworth bandpass filters as second-order sections, applied forward and backward.

As `butter(..., output="sos")` and `sosfiltfilt` of `scipy.signal`, whose import takes as long as
the measurement of a short video. The operations are in the same order, so that the results are
equal.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]

Section = tuple[float, float, float, float, float]
"""Coefficients b₀, b₁, b₂, a₁, a₂ of (b₀ + b₁/z + b₂/z²) / (1 + a₁/z + a₂/z²)."""


@cache
def bandpass_sections(order: int, low_hz: float, high_hz: float, fps: float) -> list[Section]:
    """Return the sections of a Butterworth bandpass, `order` of them.

    Args:
        order: of the lowpass that is transformed.
        low_hz, high_hz: the band's ends, where the power is halved.
        fps: sampling rate in Hz, more than twice `high_hz`.
    """
    edges = np.array([low_hz, high_hz]) / (fps / 2)
    low, high = 4 * np.tan(np.pi * edges / 2)  # of the analogue filter that becomes this one
    width, middle = float(high - low), float(np.sqrt(low * high))
    prototype = -np.exp(1j * np.pi * np.arange(1 - order, order, 2) / (2 * order))
    half = prototype * width / 2
    root = np.sqrt(half**2 - middle**2)
    analogue = np.concatenate([half + root, half - root])
    poles = (4 + analogue) / (4 - analogue)
    gain = float(width**order * np.real(4.0**order / np.prod(4 - analogue)))
    return _paired(poles, np.repeat([-1.0, 1.0], order), gain)


def filter_both_ways(sections: list[Section], x: Array, padding: int) -> Array:
    """Filter `x` `(..., T)` forward and backward, so that nothing is delayed.

    The ends are extended by odd reflection over `padding` samples, less than T.
    """
    rows = x.reshape(-1, x.shape[-1])
    states = _steady_states(sections)
    return np.array([_filter_row(sections, states, row, padding) for row in rows]).reshape(x.shape)


def _paired(poles: Complex, zeros: Array, gain: float) -> list[Section]:
    """Return sections of two poles and the two zeros nearest to them, the sharpest last."""
    rest = _one_of_each_pair(poles)
    sections: list[Section] = []
    while len(rest):
        first, rest = _take(rest, _sharpest(rest))
        second = first.conj()
        if first.imag == 0:  # real poles come in even numbers
            real = np.flatnonzero(rest.imag == 0)
            second, rest = _take(rest, int(real[_sharpest(rest[real])]))
        pair = np.argsort(np.abs(zeros - first), kind="stable")[:2]
        one, other = (float(zero) for zero in zeros[pair])
        zeros = np.delete(zeros, pair)
        a1, a2 = -float((first + second).real), float((first * second).real)
        sections.insert(0, (1.0, -(one + other), one * other, a1, a2))
    b0, b1, b2, a1, a2 = sections[0]
    sections[0] = (b0 * gain, b1 * gain, b2 * gain, a1, a2)
    return sections


def _one_of_each_pair(poles: Complex) -> Complex:
    """Return one of each pair of conjugate poles, then the real ones."""
    poles = poles[np.lexsort((np.abs(poles.imag), poles.real))]
    is_real = np.abs(poles.imag) <= 100 * np.finfo(np.float64).eps * np.abs(poles)
    pairs = poles[~is_real]
    upper, lower = pairs[pairs.imag > 0], pairs[pairs.imag < 0]
    return np.concatenate([(upper + lower.conj()) / 2, poles[is_real].real])


def _sharpest(poles: Complex) -> int:
    """Return the index of the pole nearest to the unit circle."""
    return int(np.argmin(np.abs(1 - np.abs(poles))))


def _take(poles: Complex, index: int) -> tuple[np.complex128, Complex]:
    return poles[index], np.delete(poles, index)


def _steady_states(sections: list[Section]) -> list[tuple[float, float]]:
    """Return each section's state after a long input of ones."""
    states = []
    level = 1.0
    for b0, b1, b2, a1, a2 in sections:
        system = np.array([[1 + a1, -1.0], [a2, 1.0]])
        one, two = level * np.linalg.solve(system, [b1 - a1 * b0, b2 - a2 * b0])
        states.append((float(one), float(two)))
        level *= float((b0 + b1 + b2) / (1 + a1 + a2))
    return states


def _filter_row(
    sections: list[Section], states: list[tuple[float, float]], x: Array, padding: int
) -> Array:
    before = 2 * x[:1] - x[padding:0:-1]
    after = 2 * x[-1:] - x[-2 : -padding - 2 : -1]
    samples = np.concatenate([before, x, after]).tolist()
    for _ in range(2):
        start = samples[0]
        for (b0, b1, b2, a1, a2), (one, two) in zip(sections, states, strict=True):
            z0, z1 = one * start, two * start
            for index, sample in enumerate(samples):
                y = b0 * sample + z0
                z0 = b1 * sample - a1 * y + z1
                z1 = b2 * sample - a2 * y
                samples[index] = y
        samples.reverse()
    return np.array(samples[padding : len(samples) - padding])
