"""Area resampling against closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rppg.video import resize
from rppg.video.resize import resample_box

positions = st.floats(-20, 60)
sides = st.floats(2, 90)


@given(value=st.integers(0, 255), x=positions, y=positions, width=sides, height=sides)
def test_a_constant_picture_stays_constant(value, x, y, width, height):
    rgb = np.full((40, 50, 3), value, dtype=np.uint8)
    np.testing.assert_allclose(resample_box(rgb, (x, y, width, height), 12), value, atol=1e-3)


@given(x=st.floats(2, 40), y=st.floats(2, 40), width=st.floats(3, 50), height=st.floats(3, 50))
def test_a_ramp_gives_the_centre_of_each_cell(x, y, width, height):
    """Exactly so at any sub-pixel position, reduced or enlarged: nothing is rounded."""
    across = np.broadcast_to(2 * np.arange(100), (100, 100))
    rgb = np.stack([across, across.T, 0 * across], axis=-1).astype(np.uint8)
    got = resample_box(rgb, (x, y, width, height), 16)
    cells = (np.arange(16) + 0.5) / 16
    np.testing.assert_allclose(got[3, :, 0], 2 * (x + width * cells - 0.5), atol=2e-3)
    np.testing.assert_allclose(got[:, 5, 1], 2 * (y + height * cells - 0.5), atol=2e-3)


def test_whole_pixels_are_means_of_blocks():
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mean = resample_box(rgb, (0, 0, 64, 64), 1)[0, 0]
    # The joined surface differs from the pixels' own means only at the edge.
    np.testing.assert_allclose(mean, rgb.mean(axis=(0, 1)), atol=1.5)
    flat = np.repeat(np.repeat(rgb[:8, :8], 8, axis=0), 8, axis=1)
    inner = resample_box(flat, (18, 18, 4, 4), 1)[0, 0]
    np.testing.assert_allclose(inner, flat[20, 20], atol=1e-3)


def test_fine_stripes_do_not_alias():
    rgb = np.zeros((96, 96, 3), dtype=np.uint8)
    rgb[:, ::2] = 200
    values = [resample_box(rgb, (10 + shift, 10, 72, 72), 12) for shift in np.linspace(0, 2, 9)]
    assert np.ptp(values) < 0.05 * 200


def test_beyond_the_picture_its_edge_goes_on():
    rgb = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    wide = np.pad(rgb, ((25, 25), (25, 25), (0, 0)), mode="edge")
    box = (-20.3, 15.2, 41.7, 33.1)
    np.testing.assert_allclose(
        resample_box(rgb, box, 9),
        resample_box(wide, (box[0] + 25, box[1] + 25, *box[2:]), 9),
        atol=1e-3,
    )
    outside = resample_box(rgb, (100, 100, 10, 10), 4)
    np.testing.assert_allclose(outside, np.broadcast_to(rgb[-1, -1], outside.shape), atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_number_of_channels(channels):
    rgb = np.zeros((20, 20, channels), dtype=np.uint8)
    assert resample_box(rgb, (1, 1, 10, 12), 6).shape == (6, 6, channels)


@pytest.mark.parametrize("box", [(30.3, 12.8, 91.2, 91.2), (-30, -10, 200, 150), (90, 3, 8, 8)])
@pytest.mark.parametrize("size", [7, 54])
def test_strips_are_the_whole(monkeypatch, box, size):
    rgb = np.random.default_rng(0).integers(0, 256, (120, 140, 3), dtype=np.uint8)
    in_strips = resample_box(rgb, box, size)
    monkeypatch.setattr(resize, "STRIP", 4 * size)
    whole = resample_box(rgb, box, size)
    monkeypatch.setattr(resize, "STRIP", 1)
    np.testing.assert_allclose(in_strips, whole, atol=1e-4)
    np.testing.assert_allclose(resample_box(rgb, box, size), whole, atol=1e-4)
