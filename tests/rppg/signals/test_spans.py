"""Spans of a mask."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rppg.signals.spans import true_spans, visible_spans


def test_spans_of_a_mask() -> None:
    assert true_spans([0, 1, 1, 0, 1]) == [(1, 3), (4, 5)]
    assert true_spans([]) == [] and true_spans([False] * 3) == []
    assert true_spans([True] * 3) == [(0, 3)]


def test_a_lost_frame_takes_the_points_that_depend_on_it() -> None:
    times_s = np.arange(5) / 10
    grid_s = np.arange(9) / 20  # between each two frames there is a point of both
    assert visible_spans([True, True, False, True, True], times_s, grid_s) == [(0, 3), (6, 9)]


@given(st.lists(st.booleans(), max_size=60))
def test_spans_make_the_mask_again(mask: list[bool]) -> None:
    rebuilt = np.zeros(len(mask), dtype=bool)
    spans = true_spans(mask)
    for first, end in spans:
        rebuilt[first:end] = True
    assert rebuilt.tolist() == mask
    assert all(end < first for (_, end), (first, _) in pairwise(spans))
