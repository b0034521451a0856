"""The post-verification mask."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gradreg.distributed import is_initialized
from gradreg.mask.counts import (
    Counter,
    MaskStats,
    MaskStep,
    Verification,
    count_kept,
    without_skipped,
)
from gradreg.mask.gradients import judged_gradients, mask_gradients
from gradreg.mask.keep import (
    combined,
    keep_weights,
    mark_verified,
    masked,
    require_tensor,
    verified_before,
)
from gradreg.priors import GradientPrior, GradientPriorLike, Prior, PriorLike
from gradreg.wrapper import OptimizerWrapper

UNVERIFIED_STEPS = 100
"""A mask with a prior warns, once, after so many steps in which nothing was verified."""


class PostVerificationMask(OptimizerWrapper):
    r"""A wrapper that verifies the network's output, and drops the gradient of what fails.

    With keep weights :math:`k = prior(evidence) \in [0, 1]` and the output x,

    .. math::
        \frac{\partial L}{\partial x} \leftarrow
        \begin{cases} k \cdot \partial L / \partial x & k > 0 \\ 0 & k = 0 \end{cases}

    One step:

    1. Verify: the closure calls `verify` on the output, which returns it unchanged.
    2. Drop: the backward pass multiplies the output's gradient by k. Where k = 0 it is exactly
       zero, even if the gradient there is NaN or infinite.
    3. Skip: if all `verify` calls of the step together keep nothing, there is no step. Parameters,
       optimizer state and counters stay as they are.

    A step without `verify` is an ordinary step.

    Under a two-pass smoother, inside or outside the mask, the closure verifies again at the
    perturbed weights. A step then needs the first pass to keep something, and also the passes
    whose gradient is used, taken together. Priors learn from the first pass only.

    If the forward pass can't be changed, `gradient_prior` judges the parameters' gradients
    themselves, just before the base optimizer uses them: averaged over processes and draws,
    accumulated, unscaled. Each is multiplied by its factor, and entries that are not finite
    become 0. If no entry other than 0 is left, there is no step. A param group with
    `"gradient_mask": False` is not judged. (LBFGS evaluates its closure many times in a step:
    only the first gradient is judged.)

    With a loss that couples the entries of a batch (a variance, a contrast), rejected entries
    still influence the gradient of the others: weight its statistics by the returned `keep`. The
    mean over the kept entries alone is `gradreg.kept_mean(losses, keep)`.

    Under `torch.distributed` the kept weight is summed over the processes, so that all of them
    make the step or none, and the priors' states are synchronised at the end of the step. Every
    process must then verify in the same steps and with the same priors.

    Args:
        optimizer: the optimizer to wrap.
        prior: any function from evidence to keep weights; see `gradreg.priors`. None if every
            call of `verify` gets its own.
        gradient_prior: any function from gradients to factors; see `gradreg.priors.gradients`.
        soft: use the weights as they are. False rounds them: keep where the weight is at least
            1/2.

    Raises:
        TypeError: a prior is not a function; in `step`, a gradient prior found a sparse gradient.

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
                "pass it as gradient_prior="
            )
        if gradient_prior is not None and (
            not callable(gradient_prior) or isinstance(gradient_prior, type | Prior)
        ):
            raise TypeError(
                "gradient_prior must be a function from gradients and parameter indices to "
                f"factors, found {gradient_prior!r}: for instance gradreg.NormOutlier()"
            )
        self.prior, self.soft = prior, soft
        self.gradient_prior = gradient_prior
        self._last = MaskStep(kept=None, skipped=False)
        self._counter = Counter()
        self._unverified = 0
        self._verifications: list[Verification] = []  # of this step
        self._learning: list[Prior] = []  # priors that learnt in this step
        self._finite_input: Tensor | None = None
        self._passes = 0  # begun in this step

    # ---- Verification ---------------------------------------------------------------------------

    def verify(
        self, tensor: Tensor, evidence: Tensor | None = None, prior: PriorLike | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return `tensor` unchanged; in the backward pass drop the gradient of what fails.

        Entries whose evidence is NaN or infinite fail. If one weight covers several entries of the
        evidence (a waveform's samples), one such entry is enough. Under `no_grad` the call only
        judges: it doesn't count for the step, and an adaptive prior doesn't learn.

        An output that is verified once more, by another mask or this one, gets the smaller of the
        weights, as from one mask with both priors, `a & b`. A batch that the loop skips after
        `verify`, without a backward pass, doesn't count.

        Args:
            tensor: the network's output.
            evidence: what the prior judges; `tensor` itself if None. The prior's weights, mostly
                of the evidence's shape, must broadcast against `tensor`: one weight may cover a
                sample, a region or a time span. Boolean evidence is used as the weights: True is
                kept, and the mask's own prior isn't called.
            prior: replaces the mask's own for this call; the caller saves its state.

        Returns:
            The tensor (same values, same memory) and the keep weights.

        Raises:
            TypeError: not a tensor, for instance a model's whole output with several of them.
            ValueError: no prior at all, or weights that don't broadcast against the tensor.
        """
        require_tensor("verify", tensor)
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
        counts = torch.is_grad_enabled()
        with torch.no_grad():
            keep = self._judge(tensor, evidence, prior, learn=counts and self._passes <= 1)
            wide = keep.to(torch.promote_types(keep.dtype, torch.float32))
        if not counts:
            return tensor, keep
        record = Verification(wide.sum(), keep.numel(), pass_=max(self._passes - 1, 0))
        self._verifications.append(record)
        if not tensor.requires_grad:
            record.used = None
            return tensor, keep
        keep, factor = combined(keep, verified_before(tensor))

        def drop(gradient: Tensor) -> Tensor:
            record.used = True
            return masked(gradient, factor)

        out = tensor.view_as(tensor)
        out.register_hook(drop)
        mark_verified(out, keep)
        return out, keep

    def _judge(
        self, tensor: Tensor, evidence: Tensor | None, prior: PriorLike, *, learn: bool
    ) -> Tensor:
        evidence = tensor.detach() if evidence is None else evidence.detach()
        if not (evidence.is_floating_point() or evidence.is_complex()):
            evidence = evidence.to(torch.get_default_dtype())
        if learn and isinstance(prior, Prior):
            prior.observe(evidence)
            if not any(prior is other for other in self._learning):
                self._learning.append(prior)
        return keep_weights(
            tensor, evidence, prior, soft=self.soft, finite_input=self._finite_input
        )

    def verify_input(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Replace the samples that aren't finite in the network's input, and reject them later.

        A mask on the output isn't enough for a sample with NaN in it: in the backward pass its
        zero gradient is multiplied with NaN activations, and 0·NaN is NaN. So such samples are
        replaced by a copy of the batch's first finite one (zeros if there is none). Until the end
        of the step, every `verify` whose tensor has as many entries along its first dimension
        rejects them.

        Args:
            batch: samples along the first dimension.

        Returns:
            The finite batch, and one boolean per sample: whether it was finite before.

        Raises:
            TypeError: not a tensor.
        """
        require_tensor("verify_input", batch)
        finite = batch.detach().isfinite()
        if batch.ndim > 1:
            finite = finite.flatten(1).all(1)
        if len(batch) == 0:
            return batch, finite
        first = finite.to(torch.uint8).argmax().view(1)
        replacement = batch.detach().index_select(0, first)
        replacement = replacement.where(finite.any(), 0)
        if torch.is_grad_enabled():
            self._finite_input = finite
        return batch.where(finite.view(-1, *[1] * (batch.ndim - 1)), replacement), finite

    # ---- The step -------------------------------------------------------------------------------

    @torch.no_grad()
    def accept(self) -> bool:
        """Return whether something was kept; this needs the one host synchronisation of a step.

        The gradient prior acts here and not in `before_update`, where another level may have used
        the gradient already, and where the step can't be skipped any more.
        """
        entries = self._mask_gradients()
        if is_initialized():
            for prior in self._learning:
                prior.synchronize()
        self._verifications = without_skipped(self._verifications)
        self._warn_if_unused()
        self._last = MaskStep(kept=None, skipped=False)
        if not self._verifications and entries is None:
            return True
        kept, counts, (before, after) = count_kept(self._verifications, entries)
        # The gradient used is that of the further passes, or of the first if there are none.
        used = [pass_ for pass_ in kept if (pass_ > 0) == (self._passes > 1)] or list(kept)
        nothing = bool(kept) and 0 in (kept.get(0, 1), sum(kept[pass_] for pass_ in used))
        fraction = None
        if kept:
            whole = sum(counts[pass_] for pass_ in used)
            fraction = 0.0 if nothing else sum(kept[pass_] for pass_ in used) / max(whole, 1)
        self._last = MaskStep(
            kept=fraction,
            skipped=nothing or (before > 0 and after == 0),
            gradients=after / before if before else None,
            passes=tuple(kept[pass_] / max(counts[pass_], 1) for pass_ in kept),
        )
        self._counter.add(self._last, counts=bool(kept) or before > 0)
        return not self._last.skipped

    def _mask_gradients(self) -> Tensor | None:
        """Apply the gradient prior; return the number of non-zero entries before and after."""
        if self.gradient_prior is None or not self.parameters:
            return None
        gradients, indices = judged_gradients(self.param_groups)
        if not gradients:
            return torch.zeros(2, device=self.parameters[0].device)
        return mask_gradients(gradients, indices, self.gradient_prior)

    def _warn_if_unused(self) -> None:
        """Warn once if a mask with a prior has never verified anything."""
        if self.prior is None or self._counter.kept.count or self._verifications:
            return
        self._unverified += 1
        if self._unverified == UNVERIFIED_STEPS:
            warnings.warn(
                f"PostVerificationMask has a prior, but in its first {UNVERIFIED_STEPS} steps "
                "nothing was verified, so that it changes nothing: call opt.verify(output, "
                "evidence) between forward and backward, with gradients enabled",
                stacklevel=2,
            )

    def begin_pass(self) -> None:
        """Count the passes of this step."""
        self._passes += 1

    def end_step(self) -> None:
        """Forget the verifications of this step."""
        self._verifications, self._learning = [], []
        self._finite_input, self._passes = None, 0

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients, and forget verifications whose gradient that drops.

        They would remain where a `GradScaler` found infinities and never called `step`. A call
        from the closure belongs to the step in progress, and forgets nothing.
        """
        if not self._passes:
            self._verifications = [v for v in self._verifications if not v.used]
        super().zero_grad(set_to_none)

    # ---- Counts and state -----------------------------------------------------------------------

    @property
    def last(self) -> MaskStep:
        """Counts of the latest step."""
        return self._last

    @property
    def stats(self) -> MaskStats:
        """Counts over all steps so far in which something was verified or a gradient judged."""
        return self._counter.stats

    def get_extra_state(self) -> dict[str, Any]:
        """Return the counts and the priors' states."""
        state = self._counter.state_dict()
        if isinstance(self.prior, Prior):
            state["prior"] = self.prior.state_dict()
        if isinstance(self.gradient_prior, GradientPrior):
            state["gradient_prior"] = self.gradient_prior.state_dict()
        return state

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Restore the counts and the priors' states."""
        self._counter = Counter.from_state(state)
        if isinstance(self.prior, Prior) and "prior" in state:
            self.prior.load_state_dict(state["prior"])
        if isinstance(self.gradient_prior, GradientPrior) and "gradient_prior" in state:
            self.gradient_prior.load_state_dict(state["gradient_prior"])
