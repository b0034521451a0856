"""What the tests of the three wrappers share: optimizers to wrap, models, ways to train them."""

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import gradreg

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01, foreach=False),
    "SGD foreach": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, foreach=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1, foreach=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
}

WRAPPERS: dict[str, Callable[[torch.optim.Optimizer, nn.Module], gradreg.OptimizerWrapper]] = {
    "mask": lambda opt, model: gradreg.PostVerificationMask(
        opt, gradreg.WeakAmplitude(0.0, 1.5, adaptive=0.7)
    ),
    "smooth": lambda opt, model: gradreg.PerturbationSmoother(opt, rho=0.05, model=model),
    "one pass": lambda opt, model: gradreg.OnePassSmoother(opt, rho=0.1),
    "project": lambda opt, model: gradreg.NullSpaceProjector(
        opt, model, max_fraction=0.6, refresh_every=3
    ),
}

NEUTRAL: dict[str, Callable[[torch.optim.Optimizer, nn.Module], gradreg.OptimizerWrapper]] = {
    "mask": lambda opt, model: gradreg.PostVerificationMask(opt, torch.ones_like),
    "smooth": lambda opt, model: gradreg.PerturbationSmoother(opt, rho=0.0, model=model),
    "project": lambda opt, model: gradreg.NullSpaceProjector(opt, model, strength=0.0),
    "one pass": lambda opt, model: gradreg.OnePassSmoother(opt, rho=0.0),
    "project nothing": lambda opt, model: gradreg.NullSpaceProjector(opt, model, max_fraction=0.0),
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
    """The loss of batch `step`, verified where there is a mask."""
    x, y = batch(step, next(model.parameters()).dtype)

    def closure() -> torch.Tensor:
        opt.zero_grad()
        out = model(x)
        if has(opt, gradreg.PostVerificationMask):
            out, _ = opt.verify(out, evidence=(out - y).detach().abs())
        loss = (out - y).square().mean()
        loss.backward()
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
        if observe and step % 2 == 0 and has(opt, gradreg.NullSpaceProjector):
            with opt.observe_noise():
                model(batch(500 + step, next(model.parameters()).dtype)[0][:2])
        losses.append(opt.step(make_closure(model, opt, step)).item())
        if scheduler is not None:
            scheduler.step()
    return losses


def state_of(model: nn.Module, opt: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Everything that a step may change, copied."""
    tensors = [*model.parameters(), *model.buffers()]
    for key in sorted(opt.state_dict()["state"]):
        values = opt.state_dict()["state"][key]
        tensors += [
            torch.as_tensor(values[name]) for name in sorted(values) if values[name] is not None
        ]
    return [t.detach().clone() for t in tensors]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="session")
def lab() -> SimpleNamespace:
    """The helpers of this file, for test modules can't import it."""
    return SimpleNamespace(
        OPTIMIZERS=OPTIMIZERS,
        WRAPPERS=WRAPPERS,
        NEUTRAL=NEUTRAL,
        Net=Net,
        make_net=make_net,
        groups_of=groups_of,
        stack=stack,
        has=has,
        batch=batch,
        make_closure=make_closure,
        train=train,
        state_of=state_of,
        same=same,
        deepcopy=copy.deepcopy,
    )
