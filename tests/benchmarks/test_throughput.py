"""The benchmark's long videos are whole videos."""

import numpy as np
import pytest

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
