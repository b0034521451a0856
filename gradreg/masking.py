"""Gradient level: what fails verification contributes no gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from gradreg.priors import Prior, PriorLike
from gradreg.wrapper import OptimizerWrapper


@dataclass(frozen=True)
class MaskStep:
    """What the mask did in one step.

    Args:
        kept: kept weight as a fraction of what was verified; None if nothing was verified.
        skipped: whether the step was skipped, since nothing passed.
    """

    kept: float | None
    skipped: bool


@dataclass(frozen=True)
class MaskStats:
    """What the mask did in all steps in which something was verified.

    Args:
        steps: their number.
        skipped: how many of them were skipped.
        kept: mean of their kept fractions; None before the first.
    """

    steps: int
    skipped: int
    kept: float | None


@dataclass
class _Verified:
    kept: Tensor  # summed weight
    count: int
    used: bool = False  # its backward pass has run


class PostVerificationMask(OptimizerWrapper):
    r"""Verify the network's output against a prior, and drop the gradient of what fails.

    With :math:`k = prior(evidence) \in [0, 1]`, `verify` is the identity in the forward pass and

    .. math::
        \frac{\partial L}{\partial x} \leftarrow
        \begin{cases} k \cdot \partial L / \partial x & k > 0 \\ 0 & k = 0 \end{cases}

    in the backward pass: exactly zero where rejected, even if the gradient there is NaN or
    infinite. With `renormalise`, k is divided by its mean, so that the step doesn't shrink with
    the kept fraction. If all `verify` calls of a step together keep nothing, there is no step:
    parameters, optimizer state and counters stay as they are. A step without `verify` is normal.

    A loss that couples the entries of a batch (a variance, a contrast) still lets rejected ones
    steer the others: weight its statistics by the returned `keep`.

    Under `torch.distributed` the kept weight is summed over the ranks, so that all of them make
    the step or none; every rank must then verify in the same steps.

    Args:
        optimizer: the optimizer to wrap.
        prior: any function from evidence to keep weights; see `gradreg.priors`. None if every
            call of `verify` brings its own.
        soft: use the weights as they are; False rounds them: keep where the weight is at
            least 1/2.
        renormalise: divide the weights by their mean in the backward pass.

    Example:
        >>> import gradreg, torch
        >>> model = torch.nn.Linear(3, 1)
        >>> opt = gradreg.PostVerificationMask(
        ...     torch.optim.SGD(model.parameters(), lr=0.1), gradreg.WeakAmplitude(0.0, 1.0)
        ... )
        >>> def closure():
        ...     opt.zero_grad()
        ...     out, keep = opt.verify(model(torch.ones(4, 3)), evidence=torch.full((4, 1), 5.0))
        ...     loss = out.square().sum()
        ...     loss.backward()
        ...     return loss
        >>> loss = opt.step(closure)
        >>> opt.last
        MaskStep(kept=0.0, skipped=True)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        prior: PriorLike | None = None,
        *,
        soft: bool = True,
        renormalise: bool = False,
    ) -> None:
        super().__init__(optimizer)
        if prior is not None and not callable(prior):
            raise TypeError(
                f"prior must be a function from evidence to keep weights, found {prior!r}: "
                "for instance gradreg.WeakAmplitude(low, high)"
            )
        self.prior, self.soft, self.renormalise = prior, soft, renormalise
        self.last = MaskStep(kept=None, skipped=False)
        self._steps, self._skipped, self._kept = 0, 0, 0.0
        self._verified: list[_Verified] = []
        self._finite_input: Tensor | None = None
        self._stepping = False

    def verify(
        self, tensor: Tensor, evidence: Tensor | None = None, prior: PriorLike | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pass `tensor` on unchanged; in the backward pass drop the gradient of what fails.

        Entries whose evidence is NaN or infinite fail. Under `no_grad` the call only judges: it
        neither counts for the step nor teaches an adaptive prior.

        Args:
            tensor: the network's output.
            evidence: what the prior judges, broadcastable against `tensor`, so that one entry
                may stand for a sample, a region or a time span; `tensor` itself if None.
            prior: replaces the mask's own for this call (its state is then the caller's to save).

        Returns:
            The tensor (same values, same memory) and the keep weights, of the evidence's shape.

        Raises:
            ValueError: no prior at all, or evidence that doesn't broadcast against the tensor.
        """
        prior = self.prior if prior is None else prior
        if prior is None:
            raise ValueError(
                "verify found no prior: give one to PostVerificationMask(optimizer, prior) or to "
                "verify(tensor, evidence, prior)"
            )
        counted = torch.is_grad_enabled()
        with torch.no_grad():
            keep = self._judge(tensor, evidence, prior, learn=counted)
            weight = keep
            if self.renormalise:
                weight = keep / keep.mean().clamp_min(torch.finfo(keep.dtype).tiny)
        if not counted:
            return tensor, keep
        record = _Verified(
            keep.sum(dtype=torch.promote_types(keep.dtype, torch.float32)), keep.numel()
        )
        self._verified.append(record)
        if not tensor.requires_grad:
            return tensor, keep

        def mask_gradient(gradient: Tensor) -> Tensor:
            record.used = True
            return torch.where(keep > 0, gradient * weight, 0)

        out = tensor.view_as(tensor)
        out.register_hook(mask_gradient)
        return out, keep

    def _judge(
        self, tensor: Tensor, evidence: Tensor | None, prior: PriorLike, *, learn: bool
    ) -> Tensor:
        evidence = tensor.detach() if evidence is None else evidence.detach()
        if learn and isinstance(prior, Prior):
            prior.observe(evidence)
        keep = prior(evidence).to(tensor.real.dtype if tensor.is_complex() else tensor.dtype)
        if keep.shape == evidence.shape:
            keep = keep.where(evidence.isfinite(), 0)
        keep = keep.nan_to_num(nan=0.0).clamp(0, 1)
        if not self.soft:
            keep = (keep >= 0.5).to(keep.dtype)
        if (
            self._finite_input is not None
            and tensor.ndim > 0
            and tensor.shape[0] == self._finite_input.shape[0]
        ):
            keep = keep * self._finite_input.view(-1, *[1] * (tensor.ndim - 1))
        if not _broadcasts(keep.shape, tensor.shape):
            raise ValueError(
                f"keep weights of shape {tuple(keep.shape)} don't broadcast against the tensor's "
                f"{tuple(tensor.shape)}: add dimensions to the evidence, as in "
                "evidence.unsqueeze(-1) for one weight a row"
            )
        return keep

    def verify_input(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Replace the samples that aren't finite before the network sees them, and reject them.

        A mask on the output can't help a sample with NaN in it: its zero gradient meets NaN
        activations on the way back, and 0·NaN is NaN. So such samples are replaced by a copy of
        the batch's first finite one (zeros if there is none), and every `verify` until the end of
        the step whose tensor has as many entries along its first dimension rejects them.

        Args:
            batch: samples along the first dimension.

        Returns:
            The batch, finite, and one boolean a sample: whether it was so on arrival.
        """
        finite = batch.detach().isfinite().flatten(1).all(1)
        donor = finite.to(torch.uint8).argmax().view(1)
        spare = batch.detach().index_select(0, donor)
        spare = spare.where(finite.any(), 0)
        if torch.is_grad_enabled():
            self._finite_input = finite
        return batch.where(finite.view(-1, *[1] * (batch.ndim - 1)), spare), finite

    def accept(self) -> bool:
        """Decline the step if something was verified and nothing kept: the one host sync."""
        if not self._verified:
            self.last = MaskStep(kept=None, skipped=False)
            return True
        first = self._verified[0].kept
        weights = [v.kept.to(first.device, torch.float32) for v in self._verified]
        whole = torch.full_like(weights[0], sum(v.count for v in self._verified))
        totals = torch.stack([torch.stack(weights).sum(), whole])
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(totals)
        kept, count = totals.tolist()
        fraction = kept / max(count, 1)
        self.last = MaskStep(kept=fraction, skipped=kept == 0)
        self._steps += 1
        self._skipped += self.last.skipped
        self._kept += fraction
        return not self.last.skipped

    def evaluate(self, closure: Any) -> Any:
        """Note that the closure's own `zero_grad` belongs to this step."""
        self._stepping = True
        return closure()

    def end_step(self) -> None:
        """Forget what was verified for this step."""
        self._verified, self._finite_input, self._stepping = [], None, False

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients, and forget verifications whose gradient is dropped by that.

        That matters where a `GradScaler` found infinities and never called `step`.
        """
        if not self._stepping:
            self._verified = [v for v in self._verified if not v.used]
        super().zero_grad(set_to_none)

    @property
    def stats(self) -> MaskStats:
        """Counts over all steps so far in which something was verified."""
        kept = self._kept / self._steps if self._steps else None
        return MaskStats(steps=self._steps, skipped=self._skipped, kept=kept)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the counts and what the prior has learnt."""
        state: dict[str, Any] = {"steps": self._steps, "skipped": self._skipped, "kept": self._kept}
        if isinstance(self.prior, Prior):
            state["prior"] = self.prior.state_dict()
        return state

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore the counts and what the prior has learnt."""
        self._steps, self._skipped = state["steps"], state["skipped"]
        self._kept = state["kept"]
        if isinstance(self.prior, Prior) and "prior" in state:
            self.prior.load_state_dict(state["prior"])


def _broadcasts(shape: torch.Size, onto: torch.Size) -> bool:
    return len(shape) <= len(onto) and all(
        a in (1, b) for a, b in zip(reversed(shape), reversed(onto), strict=False)
    )
