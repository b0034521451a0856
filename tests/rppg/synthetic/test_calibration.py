"""Are the domains as hard as what they mirror? A coarse look at one, and the numbers in docs."""

import json
from pathlib import Path

import pytest

from rppg.evaluation import classical, constant_guess, evaluate
from rppg.synthetic.all_domains import ALL_DOMAINS
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.filmed.domains import FILMED_DOMAINS


def test_pos_beats_green_and_a_constant_guess_on_webcam(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path))
    recordings = synthetic_recordings("webcam", "train", 8)
    low, high = DOMAINS["webcam"].hr_bpm
    methods = {
        "constant": constant_guess((low + high) / 2),
        "green": classical("green"),
        "pos": classical("pos"),
    }
    mae = {s.method: s.mae_bpm.value for s in evaluate(recordings, methods).summary()}
    assert mae["pos"] < 0.6 * mae["constant"]
    assert mae["pos"] < 0.6 * mae["green"]
    assert mae["pos"] < 6
    assert mae["constant"] > 10


POS_BPM = {
    "lab": (0.4, 6),
    "webcam": (2, 6),
    "codec": (15, 25),
    "mobile": (9, 15),
    "wild": (10, 30),
}
"""What POS gets on the datasets that the domains mirror, as published under several protocols."""


def test_the_committed_calibration_covers_all_domains_and_meets_its_targets() -> None:
    path = Path(__file__).parents[3] / "docs" / "results" / "domain_calibration.json"
    found = json.loads(path.read_text(encoding="utf-8"))["domains"]
    assert list(found)[:5] == [domain.key for domain in DOMAINS.values()]
    assert set(found) == {domain.key for domain in ALL_DOMAINS.values()}
    for name, (low, high) in POS_BPM.items():
        mae = {method: value for method, (value, _) in found[DOMAINS[name].key].items()}
        assert low < mae["pos"] < high, name
        assert mae["oracle"] < 3 and mae["untrained"] > 2 * mae["oracle"], name
        assert mae["pos"] > 12 or mae["green"] > mae["pos"], name
    for domain in FILMED_DOMAINS.values():
        mae = {method: value for method, (value, _) in found[domain.key].items()}
        masked = min(mae["pos+skin"], mae["chrom+skin"])
        assert mae["oracle"] < 3 and mae["untrained"] > 2 * mae["oracle"], domain.key
        assert 4 < masked < mae["constant"], domain.key
