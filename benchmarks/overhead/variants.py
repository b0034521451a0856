"""The optimizers that are measured, each as a whole training iteration."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import gradreg
from benchmarks.overhead.cases import Case

LR = 1e-3
OBSERVED = 64
"""Number of noise samples in one observation."""


@dataclass(frozen=True)
class Iteration:
    """One variant, ready to run.

    Attributes:
        step: runs one training iteration, including forward and backward pass.
        observe: lets the projector observe noise again; None without a projector.
        parameters: number of parameters.
    """

    step: Callable[[], object]
    observe: Callable[[], None] | None
    parameters: int


Wrap = Callable[[torch.optim.Optimizer, nn.Module, int], torch.optim.Optimizer]


def _project(opt: torch.optim.Optimizer, model: nn.Module, rank: int) -> torch.optim.Optimizer:
    return gradreg.NullSpaceProjector(opt, model, rank=rank, max_fraction=1.0)


def _mask(opt: torch.optim.Optimizer) -> torch.optim.Optimizer:
    return gradreg.PostVerificationMask(opt, gradreg.WeakAmplitude(0.0, 50.0))


WRAPPED: dict[str, Wrap] = {
    "bare": lambda opt, model, rank: opt,
    "mask": lambda opt, model, rank: _mask(opt),
    "one pass": lambda opt, model, rank: gradreg.OnePassSmoother(opt, rho=0.05),
    "SAM": lambda opt, model, rank: gradreg.PerturbationSmoother(opt, rho=0.05, model=model),
    "LookSAM, every 5": lambda opt, model, rank: gradreg.PerturbationSmoother(
        opt, rho=0.05, model=model, every=5
    ),
    "projector": _project,
    "all, one pass": lambda opt, model, rank: _mask(
        gradreg.OnePassSmoother(_project(opt, model, rank), rho=0.05)
    ),
}
REFERENCE = "SAM of pytorch_optimizer"
VARIANTS = (*WRAPPED, REFERENCE)


def build_iteration(variant: str, case: Case) -> Iteration:
    """Return the variant with a new model."""
    model, x, labels = case.build_all()
    parameters = sum(p.numel() for p in model.parameters())
    if variant == REFERENCE:
        return Iteration(_reference_step(model, x, labels), None, parameters)
    base = torch.optim.AdamW(model.parameters(), lr=LR)
    opt = WRAPPED[variant](base, model, case.rank)
    names = _levels(opt)

    def closure() -> Tensor:
        opt.zero_grad()
        out = model(x)
        if "PostVerificationMask" in names:
            out, _ = opt.verify(out, evidence=out.detach().abs().amax(1, keepdim=True))
        loss = F.cross_entropy(out, labels)
        loss.backward()
        return loss

    def observe() -> None:
        with opt.observe_noise():
            model(torch.randn(OBSERVED, *x.shape[1:]))

    if "NullSpaceProjector" not in names:
        return Iteration(lambda: opt.step(closure), None, parameters)
    observe()
    return Iteration(lambda: opt.step(closure), observe, parameters)


def _levels(opt: torch.optim.Optimizer) -> set[str]:
    names = set()
    while isinstance(opt, gradreg.OptimizerWrapper):
        names.add(type(opt).__name__)
        opt = opt.inner
    return names


def _reference_step(model: nn.Module, x: Tensor, labels: Tensor) -> Callable[[], object]:
    from pytorch_optimizer import SAM  # noqa: PLC0415  (the extra `bench`)

    opt = SAM(model.parameters(), torch.optim.AdamW, rho=0.05, lr=LR)

    def closure() -> Tensor:
        opt.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        return loss

    def step() -> None:  # as its documentation says
        closure()
        opt.step(closure)

    return step
