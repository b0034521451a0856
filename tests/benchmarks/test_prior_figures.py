"""The figures of the priors: curves as the priors are documented, the same bytes each time."""

import sys
from pathlib import Path

import pytest
import torch

from benchmarks import prior_figures
from gradreg.priors import WeakAmplitude


def weight_at(curve: prior_figures.Curve, evidence: float) -> float:
    x, weight = curve
    return weight[(x - evidence).abs().argmin()].item()


@pytest.mark.parametrize(
    ("curve", "kept", "rejected"),
    [
        (prior_figures.weak_amplitude(0.0), 0.9, 1.1),
        (prior_figures.median_outlier(3.0), 2.0, 6.0),
        (prior_figures.band_energy(0.0), 0.55, 0.45),
        (prior_figures.entropy(0.4), 0.35, 0.45),
        (prior_figures.agreement(0.0), 0.1, -0.1),
        (prior_figures.at_least(0.0), 0.21, 0.19),
        (prior_figures.norm_outlier(clip=False), 3.9, 4.1),
        (prior_figures.sign_agreement(), 0.1, -0.1),
    ],
)
def test_hard_priors_keep_or_reject(
    curve: prior_figures.Curve, kept: float, rejected: float
) -> None:
    assert weight_at(curve, kept) == 1
    assert weight_at(curve, rejected) == 0


def test_soft_edges() -> None:
    x, weight = prior_figures.weak_amplitude(0.5)
    assert torch.equal(weight, WeakAmplitude(0.2, 1.0, soft=0.5)(x))
    assert weight_at((x, weight), 1.25) == pytest.approx(0.5, abs=0.01)
    assert weight_at(prior_figures.band_energy(0.5), 0.375) == pytest.approx(0.5, abs=0.01)
    assert weight_at(prior_figures.at_least(0.3), 0.05) == pytest.approx(0.5, abs=0.01)
    assert weight_at(prior_figures.norm_outlier(clip=True), 8) == pytest.approx(0.5, abs=0.01)


def test_the_same_bytes_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        monkeypatch.setattr(sys, "argv", ["prior_figures", "--out", str(tmp_path / name)])
        prior_figures.main()
    for name in prior_figures.FIGURES:
        first, second = (tmp_path / run / f"{name}.svg" for run in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
