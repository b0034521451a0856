"""The benchmark's long videos are whole videos; its bars hold up to their values."""

import numpy as np
import pytest

from benchmarks.throughput.bars import find_claims
from benchmarks.throughput.videos import repeat
from rppg.video import probe, read_frames, write_video


def test_a_repeated_segment_is_a_video_of_that_length(tmp_path):
    shades = 40 + 2 * np.arange(60, dtype=np.uint8)
    frames = np.broadcast_to(shades[:, None, None, None], (60, 32, 48, 3))
    write_video(tmp_path / "segment.mp4", frames, fps=30)  # with frames out of order
    repeat(tmp_path / "segment.mp4", tmp_path / "long.mp4", 0.1)
    assert probe(tmp_path / "long.mp4").duration_s == pytest.approx(6, abs=0.05)
    found = list(read_frames(tmp_path / "long.mp4"))
    np.testing.assert_allclose([f.time_s for f in found], np.arange(180) / 30, atol=1e-3)
    seen = np.array([f.rgb[16, 24, 0] for f in found], dtype=float)
    np.testing.assert_allclose(seen, np.tile(shades, 3), atol=4)


def test_the_bars_hold_up_to_their_values():
    values = {
        "decode_ms": [4.0, 9.0, 4.0], "whole_ms": [4.6, 4.6, 9.0], "torch_s": [1.0],
        "predict_s": [2.0], "torch_mb": [300.0], "minute_mb": [540.0], "long_mb": [550.0],
    }  # fmt: skip
    assert [claim.holds for claim in find_claims(values, {})] == [True] * 4
    worse = {"whole_ms": [4.7], "predict_s": [2.1], "long_mb": [551.0]}
    claims = find_claims({**values, **worse}, {"720p": 600.0})
    assert [claim.holds for claim in claims] == [False] * 4
    assert claims[2].found == "251 MB; 720p: 300 MB"
