"""Real patches of skin: which windows count as reliable, and which as right."""

import json

import numpy as np

from benchmarks import skin_patches
from rppg.video.encode import write_video

FPS, TIME = 15, 300


def write_patch(path, bpm):
    """Write a patch of skin, 60 × 30 pixels, with a pulse in it."""
    pulse = np.sin(2 * np.pi * bpm / 60 * np.arange(TIME) / FPS)[:, None, None, None]
    frames = np.random.default_rng(0).normal([150, 112, 92], 2, (TIME, 30, 60, 3))
    frames += pulse * [0.7, 1.4, 1.0]
    write_video(path, frames.round().astype(np.uint8), fps=FPS, codec="ffv1")


def test_a_window_is_right_within_5_bpm_of_the_mean(tmp_path, capsys):
    write_patch(tmp_path / "a.mkv", 72)
    write_patch(tmp_path / "b.mkv", 90)
    (tmp_path / "truth.csv").write_text("video,mean_hr_bpm\na.mkv,74\nb.mkv,120\n")
    skin_patches.main([str(tmp_path), "--out", str(tmp_path / "found.json")])
    for method in json.loads((tmp_path / "found.json").read_text())["methods"].values():
        assert method["windows"] == 2 * method["right"] > 0
        assert method["reliable"] == 2 * method["reliable_right"] == method["windows"]
        assert 15 < method["mae_bpm"] < 17
    assert "| a.mkv | 74.0 | 7" in capsys.readouterr().out
