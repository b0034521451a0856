"""Gradient level: the oscillation of successive gradients, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle


@dataclass(frozen=True)
class LayerOscillation:
    """The oscillation of one parameter's gradient; None where there are too few gradients.

    Args:
        cosine: mean cosine between successive gradients, -1..1; negative if they reverse.
        flip_rate: mean share of entries whose sign is opposite to the step before, 0..1; entries
            that are zero in one of the two steps aren't counted.
        signal_to_noise: squared norm of the moving mean over the sum of the moving variance,
            0..inf.
        steps: number of gradients seen, without those with NaN or infinite entries.
    """

    cosine: float | None
    flip_rate: float | None
    signal_to_noise: float | None
    steps: int


class GradientOscillation:
    r"""A record of successive gradients of each parameter, without host synchronisation in a step.

    For gradients :math:`g_1, g_2, \ldots` of a parameter, with moving moments of decay β,

    .. math::
        \cos_t = \frac{g_t \cdot g_{t-1}}{\|g_t\| \|g_{t-1}\|}, \qquad
        SNR = \frac{\|m_t\|^2}{\sum v_t}, \qquad
        m_t = \beta m_{t-1} + (1 - \beta) g_t, \quad
        v_t = \beta (v_{t-1} + (1 - \beta) (g_t - m_{t-1})^2)

    starting from :math:`m_1 = g_1, v_1 = 0`, so that v is the variance about m under the same
    weights. Cosine and flip rate are means over all steps since the start or `reset()`.

    A missing gradient is ignored. One with NaN or infinite entries is left out, and the next is
    compared with the last finite one. Parameters may be added (a model's are read at each update)
    and removed (their record stays). It keeps three copies of the parameters, in float32 at least.

    Args:
        parameters: a model, or names and parameters as from `named_parameters()`.
        decay: β.

    Raises:
        ValueError: decay outside [0, 1).

    Example:
        >>> import torch
        >>> from gradreg.diagnostics import GradientOscillation
        >>> w = torch.nn.Parameter(torch.tensor([1.0]))
        >>> opt = torch.optim.SGD([w], lr=1.5)  # overshoots the minimum of w²/2 at each step
        >>> oscillation = GradientOscillation([("w", w)])
        >>> handle = oscillation.attach(opt)
        >>> for _ in range(4):
        ...     opt.zero_grad()
        ...     w.square().div(2).sum().backward()
        ...     opt.step()
        >>> layer = oscillation.read()["w"]
        >>> (layer.cosine, layer.flip_rate, layer.steps)
        (-1.0, 1.0, 4)

    References:
        L. Balles, P. Hennig, Dissecting Adam: The Sign, Magnitude and Variance of Stochastic
        Gradients, 2018 (signal-to-noise ratio of gradients).
    """

    def __init__(
        self, parameters: nn.Module | Iterable[tuple[str, Tensor]], *, decay: float = 0.9
    ) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"expected a decay 0 <= decay < 1, found {decay}")
        self._parameters = parameters if isinstance(parameters, nn.Module) else dict(parameters)
        self.decay = decay
        self._records: dict[str, dict[str, Tensor]] = {}

    def attach(self, optimizer: Optimizer) -> RemovableHandle:
        """Update after every step of the optimizer, until the handle's `remove()`.

        In a chain of wrappers that is the final gradient, which the base optimizer used. A skipped
        step doesn't count.
        """
        return optimizer.register_step_post_hook(lambda *_: self.update())

    @torch.no_grad()
    def update(self) -> None:
        """Record the gradients in `.grad`."""
        named = self._parameters
        for name, parameter in (
            named.named_parameters() if isinstance(named, nn.Module) else named.items()
        ):
            if parameter.grad is not None:
                gradient = parameter.grad.detach()
                dense = gradient.to_dense() if gradient.layout != torch.strided else gradient
                self._record(name, dense.to(torch.promote_types(dense.dtype, torch.float32)))

    def _record(self, name: str, gradient: Tensor) -> None:
        record = self._records.get(name)
        if record is None or record["previous"].shape != gradient.shape:
            record = self._records[name] = _empty(gradient)
        record.update({k: v.to(gradient.device) for k, v in record.items()})
        finite = gradient.isfinite().all()
        gradient = gradient.where(finite, 0)
        previous, mean, first = record["previous"], record["mean"], record["steps"] == 0
        scale = gradient.norm() * previous.norm()
        comparable = finite & (scale > 0)  # a zero gradient has no direction
        cosine = (gradient * previous).sum() / scale.where(comparable, 1)
        signs = gradient.sign() * previous.sign()
        counted = (signs != 0).sum()
        flips = (signs < 0).sum() / counted.clamp_min(1)
        record["cosines"] = record["cosines"] + cosine.where(comparable, 0)
        record["compared"] = record["compared"] + comparable
        record["flips"] = record["flips"] + flips.where(finite, 0)
        record["flips_compared"] = record["flips_compared"] + (finite & (counted > 0))
        record["steps"] = record["steps"] + finite
        deviation = (gradient - mean).where(finite, 0)
        share = torch.where(first, 1.0, 1 - self.decay)  # the first gradient is the first mean
        variance = self.decay * (record["variance"] + (1 - self.decay) * deviation.square())
        record["variance"] = variance.where(finite, record["variance"]).where(~first, 0)
        record["mean"] = mean + share * deviation
        record["previous"] = gradient.where(finite, previous)

    def read(self) -> dict[str, LayerOscillation]:
        """Return the oscillation of each parameter; one host synchronisation per device."""
        numbers: dict[torch.device, list[tuple[str, Tensor]]] = {}
        for name, record in self._records.items():
            values = torch.stack(
                [
                    record["cosines"] / record["compared"],
                    record["flips"] / record["flips_compared"],
                    record["mean"].square().sum() / record["variance"].sum(),
                    record["steps"],
                ]
            )
            numbers.setdefault(values.device, []).append((name, values))
        layers = {}
        for rows in numbers.values():
            for (name, _), row in zip(
                rows, torch.stack([v for _, v in rows]).tolist(), strict=True
            ):
                cosine, flips, ratio = (None if math.isnan(x) else x for x in row[:3])
                steps = int(row[3])
                ratio = None if steps < 2 else ratio  # one gradient has no variance
                layers[name] = LayerOscillation(cosine, flips, ratio, steps)
        return {name: layers[name] for name in self._records}

    def reset(self) -> None:
        """Delete the record."""
        self._records = {}

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return the record by the parameters' names, as tensors."""
        return {name: dict(record) for name, record in self._records.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Restore what `state_dict` returned."""
        self._records = {
            name: {key: value.clone() for key, value in record.items()}
            for name, record in state.items()
        }


def _empty(gradient: Tensor) -> dict[str, Tensor]:
    record = {key: torch.zeros_like(gradient) for key in ("previous", "mean", "variance")}
    for key in ("cosines", "compared", "flips", "flips_compared", "steps"):
        record[key] = torch.zeros((), dtype=torch.float64, device=gradient.device)
    return record
