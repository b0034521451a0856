"""Gradient level: what fails verification contributes no gradient."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer

from gradreg.mask.counts import MaskStats, MaskStep, Mean, Verified
from gradreg.mask.gradients import broadcasts, judged_gradients, mask_gradients
from gradreg.priors import GradientPrior, GradientPriorLike, Prior, PriorLike
from gradreg.wrapper import OptimizerWrapper

UNVERIFIED_STEPS = 100
"""After so many steps in which nothing was verified a mask with a prior warns, once."""


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

    Under a two-pass smoother, inside or outside of the mask, the closure verifies again at the
    perturbed weights. There is then a step only if the first pass kept something, and the passes
    whose gradient is used together did too. Priors learn from the first pass alone.

    For callers who can't touch the forward pass, `gradient_prior` judges the parameters'
    gradients themselves, just before the base optimizer uses them: averaged over ranks and
    draws, accumulated, unscaled. Each is multiplied by its factor, and entries that are not
    finite become 0. If that leaves no entry other than 0, there is no step. A param group with
    `"gradient_mask": False` is left alone. (LBFGS evaluates its closure many times a step: the
    first gradient alone is judged.)

    A loss that couples the entries of a batch (a variance, a contrast) still lets rejected ones
    steer the others: weight its statistics by the returned `keep`. The mean over the kept entries
    alone is `gradreg.kept_mean(losses, keep)`.

    Under `torch.distributed` the kept weight is summed over the ranks, so that all of them make
    the step or none, and what priors learn is shared at the end of the step; every rank must then
    verify in the same steps and by the same priors.

    Args:
        optimizer: the optimizer to wrap.
        prior: any function from evidence to keep weights; see `gradreg.priors`. None if every
            call of `verify` brings its own.
        gradient_prior: any function from gradients to factors; see `gradreg.priors.gradients`.
        soft: use the weights as they are; False rounds them: keep where the weight is at
            least 1/2.
        renormalise: divide the weights by their mean in the backward pass.

    Raises:
        TypeError: a prior is no function; in `step`, a gradient prior met a sparse gradient.

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
        MaskStep(kept=0.0, skipped=True, gradients=None)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        prior: PriorLike | None = None,
        *,
        gradient_prior: GradientPriorLike | None = None,
        soft: bool = True,
        renormalise: bool = False,
    ) -> None:
        super().__init__(optimizer)
        if prior is not None and (not callable(prior) or isinstance(prior, type)):
            raise TypeError(
                f"prior must be a function from evidence to keep weights, found {prior!r}: "
                "for instance gradreg.WeakAmplitude(low, high)"
            )
        if isinstance(prior, GradientPrior):
            raise TypeError(
                f"prior judges evidence, found {type(prior).__name__}, which judges gradients: "
                "give it as gradient_prior="
            )
        if gradient_prior is not None and (
            not callable(gradient_prior) or isinstance(gradient_prior, type | Prior)
        ):
            raise TypeError(
                "gradient_prior must be a function from gradients and parameter indices to "
                f"factors, found {gradient_prior!r}: for instance gradreg.NormOutlier()"
            )
        self.prior, self.soft, self.renormalise = prior, soft, renormalise
        self.gradient_prior = gradient_prior
        self.last = MaskStep(kept=None, skipped=False)
        self._steps, self._skipped, self._unverified = 0, 0, 0
        self._kept, self._gradients = Mean(), Mean()
        self._verified: list[Verified] = []
        self._learnt: list[Prior] = []  # in this step
        self._finite_input: Tensor | None = None
        self._passes = 0  # of this step, begun

    def verify(
        self, tensor: Tensor, evidence: Tensor | None = None, prior: PriorLike | None = None
    ) -> tuple[Tensor, Tensor]:
        """Pass `tensor` on unchanged; in the backward pass drop the gradient of what fails.

        Entries whose evidence is NaN or infinite fail; where one weight stands for several entries
        of the evidence (a waveform's samples), one of them is enough. Under `no_grad` the call
        only judges: it neither counts for the step nor teaches an adaptive prior.

        Args:
            tensor: the network's output.
            evidence: what the prior judges; `tensor` itself if None. The prior's weights, mostly
                of the evidence's shape, must broadcast against `tensor`: one may stand for a
                sample, a region or a time span. Boolean evidence is a verdict: True is kept, and
                the mask's own prior isn't asked.
            prior: replaces the mask's own for this call (its state is then the caller's to save).

        Returns:
            The tensor (same values, same memory) and the keep weights.

        Raises:
            ValueError: no prior at all, or weights that don't broadcast against the tensor.
        """
        if evidence is not None and not isinstance(evidence, Tensor):
            raise TypeError(
                f"evidence must be a tensor, found {type(evidence).__name__}: "
                "torch.as_tensor(evidence) makes it one"
            )
        if prior is None and evidence is not None and evidence.dtype == torch.bool:
            prior = torch.clone
        prior = self.prior if prior is None else prior
        if prior is None:
            raise ValueError(
                "verify found no prior: give one to PostVerificationMask(optimizer, prior) or to "
                "verify(tensor, evidence, prior)"
            )
        counted = torch.is_grad_enabled()
        with torch.no_grad():
            keep = self._judge(tensor, evidence, prior, learn=counted and self._passes <= 1)
            wide = keep.to(torch.promote_types(keep.dtype, torch.float32))
            weight = keep
            if self.renormalise:
                weight = (wide / wide.mean().clamp_min(torch.finfo(wide.dtype).tiny)).to(keep.dtype)
        if not counted:
            return tensor, keep
        record = Verified(wide.sum(), keep.numel(), turn=max(self._passes - 1, 0))
        self._verified.append(record)
        if not tensor.requires_grad:
            return tensor, keep

        def mask_gradient(gradient: Tensor) -> Tensor:
            record.used = True
            if gradient.is_complex():  # the product of complex numbers spreads a NaN to both parts
                parts = torch.view_as_real(gradient.resolve_conj()) * weight.unsqueeze(-1)
                return torch.where(keep > 0, torch.view_as_complex(parts), 0)
            return torch.where(keep > 0, gradient * weight, 0)

        out = tensor.view_as(tensor)
        out.register_hook(mask_gradient)
        return out, keep

    def _judge(
        self, tensor: Tensor, evidence: Tensor | None, prior: PriorLike, *, learn: bool
    ) -> Tensor:
        evidence = tensor.detach() if evidence is None else evidence.detach()
        if not (evidence.is_floating_point() or evidence.is_complex()):
            evidence = evidence.to(torch.get_default_dtype())
        if learn and isinstance(prior, Prior):
            prior.observe(evidence)
            if not any(prior is other for other in self._learnt):
                self._learnt.append(prior)
        keep = prior(evidence)
        if not isinstance(keep, Tensor):
            raise TypeError(
                f"a prior must return a tensor of keep weights, found {type(keep).__name__}"
            )
        keep = keep.to(tensor.real.dtype if tensor.is_complex() else tensor.dtype)
        keep = keep.where(_finite(evidence, keep.shape), 0)
        keep = keep.nan_to_num(nan=0.0).clamp(0, 1)
        if not self.soft:
            keep = (keep >= 0.5).to(keep.dtype)
        if (
            self._finite_input is not None
            and tensor.ndim > 0
            and tensor.shape[0] == self._finite_input.shape[0]
        ):
            keep = keep * self._finite_input.view(-1, *[1] * (tensor.ndim - 1))
        if not broadcasts(keep.shape, tensor.shape):
            mend = (
                "the prior keeps a dimension that the tensor lacks: verify tensor.unsqueeze(-1), "
                "or give the prior keepdim=False if it has that"
                if keep.ndim > tensor.ndim
                else "add dimensions to the evidence, as in evidence.unsqueeze(-1) for one weight "
                "a row"
            )
            raise ValueError(
                f"keep weights of shape {tuple(keep.shape)} don't broadcast against the tensor's "
                f"{tuple(tensor.shape)}: {mend}"
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
        finite = batch.detach().isfinite()
        if batch.ndim > 1:
            finite = finite.flatten(1).all(1)
        if len(batch) == 0:
            return batch, finite
        donor = finite.to(torch.uint8).argmax().view(1)
        spare = batch.detach().index_select(0, donor)
        spare = spare.where(finite.any(), 0)
        if torch.is_grad_enabled():
            self._finite_input = finite
        return batch.where(finite.view(-1, *[1] * (batch.ndim - 1)), spare), finite

    @torch.no_grad()
    def accept(self) -> bool:
        """Decline the step if nothing is left to learn from: the one host sync.

        The gradient prior acts here and not in `before_update`, where another level may have used
        the gradient already, and where it would be too late to decline.
        """
        left = self._mask_gradients()
        if dist.is_available() and dist.is_initialized():
            for prior in self._learnt:
                prior.synchronize()
        turns = sorted({v.turn for v in self._verified})
        self._warn_if_idle()
        self.last = MaskStep(kept=None, skipped=False)
        if not turns and left is None:
            return True
        kept, counts, (before, after) = self._totals(turns, left)
        # Without further passes the first one's gradient is used, with them theirs alone.
        used = [turn for turn in turns if (turn > 0) == (self._passes > 1)] or turns
        nothing = bool(turns) and 0 in (kept.get(0, 1), sum(kept[t] for t in used))
        fraction = None
        if turns:
            whole = sum(counts[t] for t in used)
            fraction = 0.0 if nothing else sum(kept[t] for t in used) / max(whole, 1)
        self.last = MaskStep(
            kept=fraction,
            skipped=nothing or (before > 0 and after == 0),
            gradients=after / before if before else None,
            passes=tuple(kept[t] / max(counts[t], 1) for t in turns),
        )
        self._steps += bool(turns) or before > 0
        self._skipped += self.last.skipped
        self._kept.add(self.last.kept)
        self._gradients.add(self.last.gradients)
        return not self.last.skipped

    def _mask_gradients(self) -> Tensor | None:
        """Let the gradient prior act; return the entries other than zero, before and after."""
        if self.gradient_prior is None or not self.parameters:
            return None
        gradients, indices = judged_gradients(self.param_groups)
        # Distributed checkpointing steps once with zero gradients to create optimizer state.
        fresh = self._gradients.count == 0
        if not gradients or (fresh and not any(g.any() for g in gradients)):
            return torch.zeros(2, device=self.parameters[0].device)
        return mask_gradients(gradients, indices, self.gradient_prior)

    def _totals(
        self, turns: Sequence[int], left: Tensor | None
    ) -> tuple[dict[int, float], dict[int, float], list[float]]:
        """Return kept weight and count of each pass, and the entries left, over all ranks."""
        device = left.device if left is not None else self._verified[0].kept.device
        by_turn = [[v for v in self._verified if v.turn == turn] for turn in turns]
        counts = [float(sum(v.count for v in records)) for records in by_turn]
        rest = torch.zeros(2, device=device) if left is None else left.float()
        totals = torch.stack(
            [
                *(torch.stack([v.kept.to(device) for v in records]).sum() for records in by_turn),
                *(rest.new_full((), count) for count in counts),
                *rest,
            ]
        )
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(totals)
        values, n = totals.tolist(), len(turns)
        kept = dict(zip(turns, values[:n], strict=True))
        return kept, dict(zip(turns, values[n : 2 * n], strict=True)), values[2 * n :]

    def _warn_if_idle(self) -> None:
        """Say so once if a mask with a prior has never had anything to verify."""
        resting = all(_is_zero(group.get("lr", 1.0)) for group in self.param_groups)
        if self.prior is None or self._kept.count or self._verified or resting:
            return  # at rate 0, distributed checkpointing creates optimizer state
        self._unverified += 1
        if self._unverified == UNVERIFIED_STEPS:
            warnings.warn(
                f"PostVerificationMask has a prior, but in its first {UNVERIFIED_STEPS} steps "
                "nothing was verified, so that it changes nothing: call opt.verify(output, "
                "evidence) between forward and backward, with gradients enabled",
                stacklevel=2,
            )

    def begin_pass(self) -> None:
        """Note that the closure's own `zero_grad` belongs to this step, and which pass this is."""
        self._passes += 1

    def end_step(self) -> None:
        """Forget what was verified for this step."""
        self._verified, self._learnt = [], []
        self._finite_input, self._passes = None, 0

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients, and forget verifications whose gradient is dropped by that.

        That matters where a `GradScaler` found infinities and never called `step`.
        """
        if not self._passes:
            self._verified = [v for v in self._verified if not v.used]
        super().zero_grad(set_to_none)

    @property
    def stats(self) -> MaskStats:
        """Counts over all steps so far in which something was verified or a gradient judged."""
        return MaskStats(self._steps, self._skipped, self._kept.value, self._gradients.value)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the counts and what the priors have learnt."""
        state: dict[str, Any] = {"steps": self._steps, "skipped": self._skipped}
        for name, mean in (("kept", self._kept), ("gradients", self._gradients)):
            state |= {name: mean.total, f"{name}_steps": mean.count}
        if isinstance(self.prior, Prior):
            state["prior"] = self.prior.state_dict()
        if isinstance(self.gradient_prior, GradientPrior):
            state["gradient_prior"] = self.gradient_prior.state_dict()
        return state

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore the counts and what the priors have learnt."""
        self._steps, self._skipped = state["steps"], state["skipped"]
        # Earlier versions verified something in every step they counted.
        self._kept = Mean(state["kept"], state.get("kept_steps", state["steps"]))
        self._gradients = Mean(state.get("gradients", 0.0), state.get("gradients_steps", 0))
        if isinstance(self.prior, Prior) and "prior" in state:
            self.prior.load_state_dict(state["prior"])
        if isinstance(self.gradient_prior, GradientPrior) and "gradient_prior" in state:
            self.gradient_prior.load_state_dict(state["gradient_prior"])


def _finite(evidence: Tensor, shape: torch.Size) -> Tensor:
    """Say, for each weight of the given shape, whether all its evidence is finite."""
    finite = evidence.isfinite()
    if shape == evidence.shape[:-1]:  # a prior that takes the last dimension away
        return finite.all(-1) if evidence.ndim else finite
    if broadcasts(shape, evidence.shape):
        return (~finite).float().sum_to_size(shape) == 0
    return finite if broadcasts(evidence.shape, shape) else finite.new_ones(())


def _is_zero(rate: float | Tensor) -> bool:
    # Asking a GPU would make the host wait.
    return (not isinstance(rate, Tensor) or rate.device.type == "cpu") and not rate
