"""Shared by the tests of the wrappers: optimizers to wrap, models, and training loops."""

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import gradreg
from gradreg.smooth import perturbations


def _matrices(groups: Any) -> list[dict[str, Any]]:
    """Return the groups with matrices only, as Muon requires."""
    kept = [{**group, "params": [p for p in group["params"] if p.ndim == 2]} for group in groups]
    return [group for group in kept if group["params"]]


def _flat(groups: Any) -> list[torch.Tensor]:
    """Return one group, as LBFGS requires."""
    return [p for group in groups for p in group["params"]]


# Every optimizer of torch.optim, and of each kind of implementation at least one: a loop over
# tensors, foreach, fused. `laws/test_transparency.py` holds this table against torch.optim.
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01, foreach=False),
    "SGD foreach": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, foreach=True),
    "SGD fused": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.1, fused=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1, foreach=True),
    "Adam fused": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True, fused=True),
    "Adam, lr a tensor": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01), foreach=False),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    "AdamW maximize": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, maximize=True),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.01, weight_decay=0.1),
    "RAdam": lambda p: torch.optim.RAdam(p, lr=0.01, decoupled_weight_decay=True, weight_decay=0.1),
    "Adamax": lambda p: torch.optim.Adamax(p, lr=0.01, weight_decay=0.1),
    "Adadelta": lambda p: torch.optim.Adadelta(p, lr=0.5, weight_decay=0.1, foreach=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05, lr_decay=0.1, weight_decay=0.1),
    "Adagrad fused": lambda p: torch.optim.Adagrad(
        p, lr=0.05, initial_accumulator_value=0.1, fused=True
    ),
    "ASGD": lambda p: torch.optim.ASGD(p, lr=0.05, t0=2, weight_decay=0.1),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=0.01, foreach=True),
    "Adafactor": lambda p: torch.optim.Adafactor(p, lr=0.05, weight_decay=0.1),
    "Muon": lambda p: torch.optim.Muon(_matrices(p), lr=0.02, weight_decay=0.1),
    "SparseAdam": lambda p: torch.optim.SparseAdam(p, lr=0.01),
    "LBFGS": lambda p: torch.optim.LBFGS(_flat(p), lr=0.1, max_iter=3),
    "LBFGS, line search": lambda p: torch.optim.LBFGS(
        _flat(p), lr=0.1, max_iter=3, line_search_fn="strong_wolfe"
    ),
}

# (optimizer, level) -> the error that says why they don't go together.
REFUSED: dict[tuple[str, str], str] = {
    ("SparseAdam", "smooth"): "PerturbationSmoother expects dense gradients",
    ("SparseAdam", "mask, gradient prior"): "a gradient prior expects dense gradients",
}

Wrap = Callable[[torch.optim.Optimizer, nn.Module], gradreg.OptimizerWrapper]


def _smoother(**options: Any) -> Wrap:
    return lambda opt, model: gradreg.PerturbationSmoother(opt, model=model, **options)


def _projector(**options: Any) -> Wrap:
    return lambda opt, model: gradreg.NullSpaceProjector(opt, model, **options)


# Each keeps something from step to step, so that each could lose it.
WRAPPERS: dict[str, Wrap] = {
    "mask": lambda opt, model: gradreg.PostVerificationMask(
        opt, gradreg.WeakAmplitude(0.0, 1.5, adaptive=0.7)
    ),
    "mask, gradient prior": lambda opt, model: gradreg.PostVerificationMask(
        opt,
        gradreg.WeakAmplitude(0.0, 1.5, adaptive=0.7) | gradreg.MedianOutlier(4.0),
        gradient_prior=gradreg.NormOutlier(2.0, window=4, warmup=2) & gradreg.SignAgreement(),
    ),
    "smooth": _smoother(rho=0.05),
    "smooth, LookSAM": _smoother(rho=0.05, every=3),
    "smooth, ASAM": _smoother(rho=0.5, perturbation=perturbations.ASAM()),
    "smooth, Friendly LookSAM": lambda opt, model: gradreg.PerturbationSmoother(
        opt, 0.1, perturbations.Friendly(0.9), every=2, model=model
    ),
    "smooth, Gaussian": _smoother(rho=0.01, perturbation=perturbations.Gaussian(2)),
    "smooth, Random": _smoother(
        rho=lambda step: 0.1 / (1 + step), perturbation=perturbations.Random()
    ),
    "one pass": lambda opt, model: gradreg.OnePassSmoother(opt, rho=0.1),
    "one pass, rho of step": lambda opt, model: gradreg.OnePassSmoother(
        opt, rho=lambda step: 0.3 / (1 + step), beta=0.5
    ),
    "project": _projector(max_fraction=0.6, refresh_every=3),
    "project, release": _projector(mode="release", forgetting=0.8, strength=0.9),
    "project, sketch": _projector(max_size=3, sketch_size=2, refresh_every=2, forgetting=0.9),
    "project, rank and biases": _projector(rank=1, bias=True),
}

NEUTRAL: dict[str, Wrap] = {
    "mask": lambda opt, model: gradreg.PostVerificationMask(opt, torch.ones_like),
    "mask, gradient prior": lambda opt, model: gradreg.PostVerificationMask(
        opt,
        torch.ones_like,
        gradient_prior=lambda gradients, _: [g.new_ones(()) for g in gradients],
    ),
    "smooth": _smoother(rho=0.0),
    "smooth, LookSAM": _smoother(rho=0.0, every=3),
    "project": _projector(strength=0.0),
    "one pass": lambda opt, model: gradreg.OnePassSmoother(opt, rho=0.0),
    "project nothing": _projector(max_fraction=0.0),
}


class Net(nn.Module):
    """A convolution in groups, BatchNorm, dropout-free: every kind of state a step can touch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.norm(self.conv(x))).mean(-1))


def make_net(dtype: torch.dtype = torch.float32, seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net().to(dtype)


def groups_of(model: nn.Module) -> list[dict[str, Any]]:
    """Two param groups: weights, and vectors without weight decay."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0, "lr": 0.02},
    ]


def stack(
    model: nn.Module, name: str, levels: tuple[str, ...] = (), *, neutral: bool = False
) -> torch.optim.Optimizer:
    """Wrap the named optimizer in levels, innermost first."""
    opt = OPTIMIZERS[name](groups_of(model))
    for level in levels:
        opt = (NEUTRAL if neutral else WRAPPERS)[level](opt, model)
    return opt


def has(opt: torch.optim.Optimizer, kind: type) -> bool:
    while isinstance(opt, gradreg.OptimizerWrapper):
        if isinstance(opt, kind):
            return True
        opt = opt.inner
    return False


def batch(step: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1000 + step)
    x = torch.randn(6, 2, 8, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.randn(6, 2, generator=generator, dtype=torch.float64).to(dtype)


def make_closure(model: nn.Module, opt: torch.optim.Optimizer, step: int) -> Callable[[], Any]:
    """Return a closure with the loss of batch `step`, verified if there is a mask."""
    x, y = batch(step, next(model.parameters()).dtype)

    def closure() -> torch.Tensor:
        opt.zero_grad()
        out = model(x)
        if has(opt, gradreg.PostVerificationMask):
            out, _ = opt.verify(out, evidence=(out - y).detach().abs())
        loss = (out - y).square().mean()
        loss.backward()
        if isinstance(getattr(opt, "base", opt), torch.optim.SparseAdam):
            for p in model.parameters():
                p.grad = p.grad.to_sparse()
        return loss

    return closure


def train(
    model: nn.Module,
    opt: torch.optim.Optimizer,
    steps: range,
    scheduler: Any = None,
    observe: bool = True,
) -> list[float]:
    """Train on the given batches; a projector observes noise on every second."""
    losses = []
    for step in steps:
        torch.manual_seed(step)  # for perturbations that are drawn
        if observe and step % 2 == 0 and has(opt, gradreg.NullSpaceProjector):
            with opt.observe_noise():
                model(batch(500 + step, next(model.parameters()).dtype)[0][:2])
        losses.append(opt.step(make_closure(model, opt, step)).item())
        if scheduler is not None:
            scheduler.step()
    return losses


def tensors_of(value: Any) -> list[torch.Tensor]:
    """Return copies of all tensors and numbers in nested containers, in a fixed order."""
    if isinstance(value, dict):
        return [t for key in sorted(value, key=str) for t in tensors_of(value[key])]
    if isinstance(value, list | tuple):
        return [t for item in value for t in tensors_of(item)]
    if isinstance(value, torch.Tensor | int | float):
        return [torch.as_tensor(value).detach().clone()]
    return []  # None and names


def state_of(model: nn.Module, opt: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Return copies of everything that a step may change, without the levels' state."""
    return tensors_of([list(model.parameters()), list(model.buffers()), opt.state_dict()["state"]])


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module", params=list(OPTIMIZERS))
def optimizer_name(request: pytest.FixtureRequest) -> str:
    """Return the name of each optimizer of torch.optim in turn."""
    return request.param


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    """Return the helpers of this file, which test modules can't import."""
    return SimpleNamespace(
        OPTIMIZERS=OPTIMIZERS,
        WRAPPERS=WRAPPERS,
        NEUTRAL=NEUTRAL,
        REFUSED=REFUSED,
        Net=Net,
        make_net=make_net,
        groups_of=groups_of,
        stack=stack,
        has=has,
        batch=batch,
        make_closure=make_closure,
        train=train,
        tensors_of=tensors_of,
        state_of=state_of,
        same=same,
        deepcopy=copy.deepcopy,
    )
