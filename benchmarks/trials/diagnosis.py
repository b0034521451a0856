"""What each level is meant to change, measured during a training: oscillation, sharpness, drift."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from gradreg.diagnostics import GradientOscillation, RepresentationDrift, sharpness
from rppg.models.fcus import FcusNet
from rppg.synthetic.cache import synthetic_recordings
from rppg.train.clips import ClipSet, to_patches
from rppg.train.config import TrainConfig
from rppg.train.loop import LogRow
from rppg.train.objective import objective
from rppg.train.recordings import readable_crops

PROBE_SUBJECTS = 8
"""From the domain's validation split, one clip each: their background is noise that no training
has seen."""

LANDSCAPE_CLIPS = 8
"""Training clips on which the loss's curvature is measured, the same in every trial on a domain."""


class Diagnosis:
    """Measurements of one training, from its start.

    - Gradient level: mean cosine of successive gradients, as in the training log, and the share of
      entries of the optimizer's gradient that change their sign.
    - Landscape level: largest eigenvalue of the Hessian of the loss without the mask, so that the
      function is the same for every setting.
    - Feature level: relative change of the features of the attention's layers on noise that no
      training has seen, and one minus their CKA (means over the layers).
    """

    def __init__(self, net: FcusNet, clip_set: ClipSet, config: TrainConfig, source: str) -> None:
        self.net, self.config = net, config
        every = max(1, len(clip_set.clips) // LANDSCAPE_CLIPS)
        chosen = clip_set.clips[::every][:LANDSCAPE_CLIPS]
        self.clips = torch.stack(
            [clip_set.spans[span][start : start + clip_set.frames] for span, start in chosen]
        )
        self.steps, self.oscillation = 0, GradientOscillation(net)
        self.probes = noise_probes(net, config, source)
        self.reference = features(net.attention, self.probes)
        self.layers = [name for name, values in self.reference.items() if values.any()]
        self.drift = RepresentationDrift(net.attention, self.probes, layers=self.layers)

    def step(self) -> None:
        """Add the gradients of the step that just ended, except for the first step's.

        The attention's head starts at zero. So the encoder's first gradient is zero, or, under the
        smoother, depends on the perturbation alone: its signs have no meaning.
        """
        self.steps += 1
        if self.steps > 1:
            self.oscillation.update()

    def sign_flips(self) -> float | None:
        """Return the share of gradient entries that change their sign from step to step."""
        sizes = {name: p.numel() for name, p in self.net.named_parameters()}
        rates = {
            name: layer.flip_rate
            for name, layer in self.oscillation.read().items()
            if layer.flip_rate is not None
        }
        if not rates:
            return None
        return sum(sizes[n] * rate for n, rate in rates.items()) / sum(sizes[n] for n in rates)

    def feature_drift(self) -> dict[str, float | None]:
        """Return how far the features of noise are from those at the start.

        Without the attention's head, which starts at zero and so has no reference.
        """
        present = features(self.net.attention, self.probes)
        change = [
            float((present[name] - self.reference[name]).norm() / self.reference[name].norm())
            for name in self.layers
        ]
        cka = [layer.cka for layer in self.drift.measure().values() if layer.cka is not None]
        return {"drift": fmean(change), "cka_loss": 1 - fmean(cka) if cka else None}

    def read(self, rows: Sequence[LogRow]) -> dict[str, Any]:
        """Return all measurements so far; `rows` is the training log."""
        cosines = [row["gradient_cosine"] for row in rows[1:]]
        landscape = sharpness(self._loss, self.net.parameters())
        return {
            "gradient_cosine": sum(cosines) / max(1, len(cosines)),
            "sign_flips": self.sign_flips(),
            "eigenvalue": landscape.eigenvalue,
            "eigenvalue_converged": landscape.converged,
            "ascent": landscape.ascent,
            **self.feature_drift(),
            "kept": sum(row["kept"] for row in rows) / len(rows),
        }

    def _loss(self) -> Tensor:
        output = self.net(self.clips)
        keep, speed = torch.ones_like(output.regions), torch.ones(len(self.clips))
        return objective(self.net, output, keep, speed, self.config.objective).total


def features(attention: nn.Module, probes: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Return the outputs of the layers with weights on the probes, by the layers' names."""
    outputs: dict[str, Tensor] = {}
    handles = [
        layer.register_forward_hook(
            lambda _layer, _inputs, output, name=name: outputs.update(
                {name: output.detach().clone()}
            )
        )
        for name, layer in attention.named_modules()
        if next(layer.parameters(recurse=False), None) is not None
    ]
    try:
        with torch.no_grad():
            attention(*probes)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def noise_probes(net: FcusNet, config: TrainConfig, source: str) -> tuple[Tensor, Tensor]:
    """Return the attention's inputs (traces and mean crops) for clips of background alone.

    They are of subjects that neither training nor the projector's subspace has seen.
    """
    recordings = synthetic_recordings(source, "validation", PROBE_SUBJECTS)
    crops = readable_crops(recordings, config.clip_s)[0]
    frames = round(config.clip_s * config.model.fps)
    clips = [to_patches(crop, config.model)[:frames] for crop in crops]
    with torch.no_grad():
        return net.traces(only_background(torch.stack(clips)))


def only_background(clips: Tensor) -> Tensor:
    """Return clips `(..., G, G)` tiled with what is to the left and right of the head."""
    grid = clips.shape[-1]
    border, upper = grid // 6, round(0.72 * grid)
    strip = torch.cat([clips[..., :upper, :border], clips[..., :upper, grid - border :]], -1)
    rows, columns = torch.arange(grid) % upper, torch.arange(grid) % (2 * border)
    return strip[..., rows, :][..., columns]
