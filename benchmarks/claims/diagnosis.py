"""What each level claims to do, measured in a run: oscillation, sharpness, drift."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradreg.diagnostics import GradientOscillation, RepresentationDrift, sharpness
from rppg.models.fcus import FcusNet
from rppg.synthetic.cache import synthetic_records
from rppg.train import readable_crops
from rppg.training.clips import ClipSet, to_patches
from rppg.training.config import TrainConfig
from rppg.training.loop import LogRow
from rppg.training.objective import objective

PROBE_SUBJECTS = 8
"""Of the source's validation split: their background is the noise that no run has seen."""

LANDSCAPE_CLIPS = 8
"""Training clips, the same in every run on a source, on which the loss is looked at."""


class Diagnosis:
    """Watches a run from its start.

    - Gradient level: mean cosine of successive gradients, as the training log has it, and the share
      of entries that change their sign, of the gradient that the optimizer used.
    - Landscape level: largest eigenvalue of the Hessian of the loss without the mask, so that it is
      the same function for every setting.
    - Feature level: how far the signatures' answers to colours of background light have moved,
      relative to what they were; and one minus the CKA of the two.
    """

    def __init__(self, net: FcusNet, clip_set: ClipSet, config: TrainConfig, source: str) -> None:
        self.net, self.config = net, config
        every = max(1, len(clip_set.clips) // LANDSCAPE_CLIPS)
        chosen = clip_set.clips[::every][:LANDSCAPE_CLIPS]
        self.clips = torch.stack(
            [clip_set.runs[run][start : start + clip_set.frames] for run, start in chosen]
        )
        self.steps, self.oscillation = 0, GradientOscillation(net)
        self.probes = noise_colours(net, config, source)
        self.answers = Answers(net)
        self.reference = self.answers(self.probes).detach().clone()
        self.drift = RepresentationDrift(self.answers, self.probes, layers=["colours"])

    def step(self) -> None:
        """Take in the gradients of the step that was just made, but for the first.

        The attention's head starts at zero, so the encoder's first gradient is zero, or under the
        smoother what a perturbed head makes of it: its signs say nothing.
        """
        self.steps += 1
        if self.steps > 1:
            self.oscillation.update()

    def sign_flips(self) -> float | None:
        """Share of gradient entries that change their sign from step to step."""
        sizes = {name: p.numel() for name, p in self.net.named_parameters()}
        found = {
            name: layer.flip_rate
            for name, layer in self.oscillation.read().items()
            if layer.flip_rate is not None
        }
        if not found:
            return None
        return sum(sizes[n] * rate for n, rate in found.items()) / sum(sizes[n] for n in found)

    def moved(self) -> dict[str, float | None]:
        """How far the answers to noise are from those at the start."""
        change = self.answers(self.probes).detach() - self.reference
        cka = self.drift.measure()["colours"].cka
        return {
            "drift": float(change.norm() / self.reference.norm()),
            "cka_loss": None if cka is None else 1 - cka,
        }

    def read(self, rows: Sequence[LogRow]) -> dict[str, Any]:
        """What the run did up to now; `rows` is its log."""
        cosines = [row["gradient_cosine"] for row in rows[1:]]
        landscape = sharpness(self._loss, self.net.parameters())
        return {
            "gradient_cosine": sum(cosines) / max(1, len(cosines)),
            "sign_flips": self.sign_flips(),
            "eigenvalue": landscape.eigenvalue,
            "eigenvalue_converged": landscape.converged,
            "ascent": landscape.ascent,
            **self.moved(),
            "kept": sum(row["kept"] for row in rows) / len(rows),
        }

    def _loss(self) -> Tensor:
        output = self.net(self.clips)
        keep, speed = torch.ones_like(output.regions), torch.ones(len(self.clips))
        return objective(self.net, output, keep, speed, self.config.objective).total


class Answers(nn.Module):
    """What a network's signatures, at unit length as it uses them, make of colours `(N, C)`."""

    def __init__(self, net: FcusNet) -> None:
        super().__init__()
        self.net = [net]  # not a submodule: only its signatures are looked at
        self.colours = nn.Identity()

    def forward(self, colours: Tensor) -> Tensor:
        """Answers `(N, K)`."""
        signatures = F.normalize(self.net[0].signatures, dim=1)
        return self.colours(colours @ signatures.T)


def noise_colours(net: FcusNet, config: TrainConfig, source: str) -> Tensor:
    """In-band colours `(N, C)` of the background, of people whom nobody was trained on."""
    records = synthetic_records(source, "validation", PROBE_SUBJECTS)
    found = []
    with torch.no_grad():
        for crops in readable_crops(records, config.clip_s)[0]:
            clip = to_patches(crops, config.model)[None]
            traces = net.background_traces(net.traces(clip)[0])
            colours = traces.transpose(2, 3).flatten(0, 2)[::30]
            found.append(colours / colours.square().mean().sqrt().clamp(min=1e-8))
    return torch.cat(found)
