"""The methods on training subjects of the synthetic domains; the full table is in the docs."""

from pathlib import Path

import pytest

from rppg.evaluation import classical, constant_guess, evaluate
from rppg.methods import METHODS
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import DOMAINS


def test_the_methods_keep_their_order_on_rendered_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path))
    recordings = synthetic_recordings("lab", "train", 8)
    guess = constant_guess(sum(DOMAINS["lab"].hr_bpm) / 2)
    methods = {name: classical(name) for name in METHODS}
    scores = {s.method: s for s in evaluate(recordings, {"constant": guess, **methods}).summary()}
    mae = {name: s.mae_bpm.value for name, s in scores.items()}
    better = set(METHODS) - {"green"}
    assert all(mae[name] < 0.6 * mae["constant"] for name in better), mae
    assert all(mae[name] < 0.5 * mae["green"] for name in better), mae
    assert all(scores[name].correlation.value > 0.5 for name in better)
