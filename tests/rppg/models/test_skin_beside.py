"""Bare skin beside the face, rendered: its pulse must not cancel that of the face."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rppg.evaluation.metrics import snr_db
from rppg.models import background
from rppg.models.fcus import FcusNet, ModelConfig, fuse
from rppg.signals import heart_rate_bpm
from rppg.signals.protocol import Protocol, measure
from rppg.synthetic.cache import SPLITS
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.subjects import render_crops
from rppg.synthetic.variations.draw import draw_varied
from rppg.synthetic.variations.variation import Variation
from rppg.train.clips import to_patches

PEOPLE = range(SPLITS["validation"], SPLITS["validation"] + 4)


def clips_and_rates(variation: Variation) -> tuple[Tensor, list[float]]:
    """Return a clip of 10 s of each person, and the true heart rates."""
    clips, rates = [], []
    for number in PEOPLE:
        subject = draw_varied(DOMAINS["webcam"], number, 10.5, variation)
        clips.append(to_patches(render_crops(subject), ModelConfig())[:300])
        rates.append(float(heart_rate_bpm(subject.truth.bvp[:600], 60.0)))
    return torch.stack(clips), rates


def mean_snr_db(waves: Tensor, rates: list[float]) -> float:
    measured = [measure(wave.double().numpy(), Protocol()).bvp for wave in waves]
    return float(np.mean([snr_db(w, 30.0, r) for w, r in zip(measured, rates, strict=True)]))


@torch.no_grad()
def test_a_bare_shoulder_costs_no_pulse(monkeypatch: pytest.MonkeyPatch) -> None:
    net = FcusNet(ModelConfig()).eval()
    clips, rates = clips_and_rates(Variation(beside="shoulder"))
    beside = mean_snr_db(net.wave(net(clips)), rates)
    monkeypatch.setattr(background, "LIKENESS", -1.0)  # every patch is a reference
    output = net(clips)
    cancelled = fuse(output.sets[:, 0], output.attention, net.fusion_power)
    assert beside > mean_snr_db(cancelled, rates) + 4
    monkeypatch.undo()
    plain, true = clips_and_rates(Variation())
    assert beside > mean_snr_db(net.wave(net(plain)), true) - 1.5
