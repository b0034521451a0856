"""Is the `webcam` domain as hard as what it mirrors? A coarse look; the numbers are in docs."""

from pathlib import Path

import pytest

from rppg.evaluation import classical, constant_guess, evaluate
from rppg.synthetic.cache import synthetic_records
from rppg.synthetic.domains import DOMAINS


def test_pos_beats_green_and_a_constant_guess_on_webcam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path))
    records = synthetic_records("webcam", "train", 8)
    low, high = DOMAINS["webcam"].hr_bpm
    methods = {
        "constant": constant_guess((low + high) / 2),
        "green": classical("green"),
        "pos": classical("pos"),
    }
    mae = {s.method: s.mae_bpm.value for s in evaluate(records, methods).summary()}
    assert mae["pos"] < 0.6 * mae["constant"]
    assert mae["pos"] < 0.6 * mae["green"]
    assert mae["pos"] < 6
    assert mae["constant"] > 10
