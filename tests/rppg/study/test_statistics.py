"""Intervals by hand: weights, row groups, and cells without a value."""

import numpy as np
import pytest

from rppg.study.statistics import bootstrap


def test_weights_are_numbers_of_windows():
    found = bootstrap([[1.0, 4.0]], ["a", "a"], weights=[[3, 1]])
    assert found.mean == pytest.approx(7 / 4)
    assert (found.low, found.high) == (1.0, 4.0)


def test_each_training_set_and_test_set_counts_once():
    """A dash where a training set would be tested on itself, as in a table of the study."""
    nan = np.nan
    values = [[nan, nan, 2.0], [nan, nan, 4.0], [1.0, 3.0, nan]]
    found = bootstrap(values, ["a", "a", "b"], row_groups=["a", "a", "b"])
    assert found.mean == pytest.approx((3 + 2) / 2)


def test_rows_are_resampled_within_their_group():
    """Two training sets with one seed each: nothing is random but the subjects, of which is one."""
    found = bootstrap([[1.0], [5.0]], ["a"], row_groups=["x", "y"])
    assert (found.mean, found.low, found.high) == (3.0, 3.0, 3.0)
    loose = bootstrap([[1.0], [5.0]], ["a"])
    assert (loose.mean, loose.low, loose.high) == (3.0, 1.0, 5.0)


def test_the_interval_is_as_wide_as_the_standard_error():
    values = np.random.default_rng(0).normal(2.0, 1.0, 100)
    found = bootstrap(values, ["a"] * 100)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std(ddof=1) / 10, rel=0.05)
