"""Figures of the priors, evidence against keep weight: `python -m benchmarks.prior_figures`.

Every curve is computed with the classes of `gradreg.priors`. Writes `evidence.svg` (priors on a
network's output) and `gradients.svg` (priors on the parameters' gradients) to
`docs/assets/priors/`. The same input gives the same bytes.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from gradreg.priors import (
    Agreement,
    AtLeast,
    BandEnergy,
    Entropy,
    MedianOutlier,
    NormOutlier,
    SignAgreement,
    WeakAmplitude,
)
from rppg.atomic import atomic_path
from rppg.report.figure_style import PALETTE, in_house_style

Curve = tuple[Tensor, Tensor]
"""Evidence and keep weight, both of shape (N,)."""

POINTS = 601


def main() -> None:
    """Draw the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/assets/priors"))
    folder = parser.parse_args().out
    for name, draw in FIGURES.items():
        path = folder / f"{name}.svg"
        write(draw(), path)
        print(path)


@in_house_style  # which also fixes the identifiers inside an SVG
def write(figure: Figure, path: Path) -> None:
    """Write a figure without the date or the version of Matplotlib."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})


@in_house_style
def evidence_figure() -> Figure:
    """Draw the priors on a network's output."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    grid = figure.add_gridspec(3, 3)
    axes = [figure.add_subplot(grid[row, column]) for row in (0, 1) for column in range(3)]
    axes.append(figure.add_subplot(grid[2, :]))
    panel(
        axes[0],
        "WeakAmplitude(low=0.2, high=1)",
        "amplitude",
        {"hard": weak_amplitude(0.0), "soft=0.5": weak_amplitude(0.5)},
    )
    panel(axes[1], "MedianOutlier(k=3)", "any number", {"hard": median_outlier(3.0)})
    values = batch()
    axes[1].plot(
        values, MedianOutlier(3.0)(values), "|", color="0.35", markersize=9, label="the batch"
    )
    panel(
        axes[2],
        "BandEnergy(0.7, 3, fps=30, min_ratio=0.5)",
        "share of the power in the band",
        {"hard": band_energy(0.0), "soft=0.5": band_energy(0.5)},
        legend="upper left",
    )
    panel(
        axes[3],
        "Entropy(max_fraction=0.4)",
        "entropy / largest possible entropy",
        {"hard": entropy(0.4)},
    )
    panel(
        axes[4],
        "Agreement(min_cosine=0)",
        "cosine with the running consensus",
        {"hard": agreement(0.0)},
    )
    panel(
        axes[5],
        "AtLeast(0.2)",
        "score",
        {"hard": at_least(0.0), "soft=0.3": at_least(0.3)},
        legend="lower right",
    )
    panel(
        axes[6],
        "WeakAmplitude(...) & ~WeakAmplitude(...)",
        "amplitude",
        {"soft=0.5, combined": combined()},
        first_colour=1,
    )
    axes[1].legend(loc="center")
    axes[1].set_xticks(range(-6, 7, 2))
    for row in (axes[0], axes[3], axes[6]):
        row.set_ylabel("keep weight")
    return figure


@in_house_style
def gradient_figure() -> Figure:
    """Draw the priors on the parameters' gradients."""
    figure = Figure(figsize=(10, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    panel(
        left,
        "NormOutlier(k=4)",
        "gradient norm / median of the tensor's own last norms",
        {"hard": norm_outlier(clip=False), "clip=True": norm_outlier(clip=True)},
    )
    panel(
        right,
        "SignAgreement()",
        "entry of the gradient, where its running mean is positive",
        {"hard": sign_agreement()},
    )
    left.set_ylabel("factor")
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "evidence": evidence_figure,
    "gradients": gradient_figure,
}


def panel(
    axes: Axes,
    title: str,
    evidence: str,
    curves: dict[str, Curve],
    *,
    first_colour: int = 0,
    legend: str = "upper right",
) -> None:
    """Draw the curves of one prior, with a legend if there are several."""
    dashes = ("solid", (0, (5, 1.5)))
    for index, (name, (x, weight)) in enumerate(curves.items(), first_colour):
        axes.plot(x, weight, color=PALETTE[index], linestyle=dashes[index], label=name)
    axes.set_title(title, fontsize=9)
    axes.set(xlabel=evidence, ylim=(-0.06, 1.06), yticks=(0, 0.5, 1))
    axes.margins(x=0.02)
    if len(curves) > 1:
        axes.legend(loc=legend)


def weak_amplitude(soft: float) -> Curve:
    """Return the weight of an amplitude."""
    x = torch.linspace(0, 1.8, POINTS)
    return x, WeakAmplitude(0.2, 1.0, soft=soft)(x)


def combined() -> Curve:
    """Return the weight of an amplitude that one prior must keep and another reject."""
    x = torch.linspace(0, 1.8, POINTS)
    prior = WeakAmplitude(0.2, 1.0, soft=0.5) & ~WeakAmplitude(0.5, 0.6, soft=0.5)
    return x, prior(x)


def at_least(soft: float) -> Curve:
    """Return the weight of a score."""
    x = torch.linspace(-0.4, 1, POINTS)
    return x, AtLeast(0.2, soft=soft)(x)


def batch() -> Tensor:
    """Return the evidence of a batch: 24 usual entries and two outliers."""
    usual = torch.special.ndtri(torch.linspace(0.03, 0.97, 24))
    return torch.cat([usual, torch.tensor([-5.0, 6.0])])


def median_outlier(k: float) -> Curve:
    """Return the weight of one more entry of the batch."""
    x = torch.linspace(-7, 7, POINTS)
    others = batch()
    weights = [MedianOutlier(k)(torch.cat([others, entry.unsqueeze(0)]))[-1] for entry in x]
    return x, torch.stack(weights)


def band_energy(soft: float) -> Curve:
    """Return the weight of mixtures of a pulse (1.2 Hz) and a slow drift (0.2 Hz)."""
    prior = BandEnergy(0.7, 3.0, fps=30, min_ratio=0.5, soft=soft)
    t = torch.arange(300, dtype=torch.float64) / 30
    pulse, drift = (torch.sin(2 * torch.pi * hz * t) for hz in (1.2, 0.2))
    angle = torch.linspace(0, torch.pi / 2, POINTS, dtype=torch.float64).unsqueeze(-1)
    waves = angle.sin() * pulse + angle.cos() * drift
    return prior.ratio(waves).squeeze(-1), prior(waves).squeeze(-1)


def entropy(max_fraction: float) -> Curve:
    """Return the weight of predictions from certain to undecided, over four classes."""
    logits = torch.zeros(POINTS, 4)
    logits[:, 0] = torch.linspace(12, 0, POINTS)
    share = torch.special.entr(logits.softmax(-1)).sum(-1) / math.log(4)
    return share, Entropy(max_fraction)(logits).squeeze(-1)


def agreement(min_cosine: float) -> Curve:
    """Return the weight of vectors at every angle to the consensus."""
    prior = Agreement(min_cosine)
    prior.observe(torch.tensor([[1.0, 0.3], [1.0, -0.3]]))
    cosine = torch.linspace(-1, 1, POINTS)
    vectors = torch.stack([cosine, (1 - cosine.square()).sqrt()], -1)
    return cosine, prior(vectors).squeeze(-1)


def norm_outlier(*, clip: bool) -> Curve:
    """Return the factor of a gradient after fifty gradients of norm 1."""
    x = torch.linspace(0.05, 12, POINTS)
    factors = []
    for norm in x:
        prior = NormOutlier(4.0, clip=clip)
        prior.load_state_dict({"norms": torch.ones(1, prior.window)})
        factors.append(prior([norm.reshape(1)], [0])[0])
    return x, torch.stack(factors)


def sign_agreement() -> Curve:
    """Return the factor of an entry whose running mean gradient is 1."""
    x = torch.linspace(-2, 2, POINTS)
    prior = SignAgreement()
    prior.load_state_dict({"0": torch.ones(POINTS)})
    return x, prior([x], [0])[0]


if __name__ == "__main__":
    main()
