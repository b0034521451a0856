"""Base optimizers that train on other weights than they evaluate."""

import copy
import itertools

import pytest
import torch
from torch import nn

import gradreg


class ScheduleFreeSGD(torch.optim.Optimizer):
    """Schedule-free SGD (Defazio et al., 2024): trains on y, evaluates the average x."""

    def __init__(self, params, lr=0.1, beta=0.9):
        super().__init__(params, {"lr": lr, "beta": beta, "train_mode": False, "steps": 0})

    @torch.no_grad()
    def _switch(self, train):
        for group in self.param_groups:
            if group["train_mode"] != train:
                weight = 1 - (group["beta"] if train else 1 / group["beta"])
                for p in group["params"]:
                    if "z" in self.state[p]:
                        p.lerp_(self.state[p]["z"], weight)
            group["train_mode"] = train

    def eval(self):
        self._switch(False)

    def train(self):
        self._switch(True)

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            assert group["train_mode"], "not in train mode"
            group["steps"] += 1
            for p in group["params"]:
                if p.grad is None:
                    continue
                z = self.state[p].setdefault("z", p.clone())
                x = p.lerp(z, 1 - 1 / group["beta"])
                z.sub_(p.grad, alpha=group["lr"])
                x.lerp_(z, 1 / group["steps"])
                p.copy_(x.lerp(z, 1 - group["beta"]))
        return loss


LEVELS = {
    "mask": lambda opt, model: gradreg.PostVerificationMask(opt, torch.ones_like),
    "smooth": lambda opt, model: gradreg.PerturbationSmoother(opt, 0.0),
    "one pass": lambda opt, model: gradreg.OnePassSmoother(opt, 0.3),
    "project": lambda opt, model: gradreg.NullSpaceProjector(
        opt, model, energy=1.0, max_fraction=0.5
    ),
}
NOISE = torch.eye(4, dtype=torch.float64)[:1]


def build(order=(), beta=0.9, seed=0):
    torch.manual_seed(seed)
    model = nn.Linear(4, 2, bias=False).double()
    opt = ScheduleFreeSGD(model.parameters(), beta=beta)
    for level in order:
        opt = LEVELS[level](opt, model)
    return model, opt


def train(model, opt, steps):
    for step in steps:
        torch.manual_seed(100 + step)
        x, y = torch.randn(8, 4).double(), torch.randn(8, 2).double()

        def closure(x=x, y=y):
            opt.zero_grad()
            loss = (model(x) - y).square().mean()
            loss.backward()
            return loss

        opt.step(closure)


@pytest.mark.parametrize(
    "order", [("smooth",), ("mask",), ("project",), ("mask", "smooth", "project")]
)
def test_modes_reach_the_base_and_neutral_levels_change_no_bit(order):
    models = []
    for levels in ((), order):
        model, opt = build(levels)
        for steps in (range(3), range(3, 6)):
            opt.train()
            train(model, opt, steps)
            opt.eval()
            models.append(model.weight.detach().clone())
        assert not getattr(opt, "base", opt).param_groups[0]["train_mode"]
    assert torch.equal(models[0], models[2])
    assert torch.equal(models[1], models[3])


@pytest.mark.parametrize("order", [("one pass",), ("one pass", "mask"), ("project", "one pass")])
def test_a_one_pass_smoother_evaluates_at_the_average_and_returns(order):
    model, opt = build(order)
    opt.train()
    train(model, opt, range(4))
    perturbed = model.weight.detach().clone()
    with opt.unperturbed():  # the base's mode stays
        y = model.weight.detach().clone()
    z = opt.state[model.weight]["z"]
    opt.eval()
    assert not opt.param_groups[0]["train_mode"]
    torch.testing.assert_close(model.weight.detach(), y.lerp(z, 1 - 1 / 0.9))
    with opt.unperturbed():
        torch.testing.assert_close(model.weight.detach(), y.lerp(z, 1 - 1 / 0.9))
    opt.train()
    torch.testing.assert_close(model.weight.detach(), perturbed)
    train(model, opt, range(4, 6))


@pytest.mark.parametrize(
    "order", [*itertools.permutations(["one pass", "project"]), ("project",), ("project", "mask")]
)
def test_the_response_to_noise_stays_when_the_base_exchanges_the_weights(order):
    model, opt = build(order, beta=0.6)
    opt.train()
    with opt.observe_noise():
        before = model(NOISE)
    for steps in (range(10), range(10, 20)):
        train(model, opt, steps)
        opt.eval()
        assert not torch.equal(opt.state[model.weight]["z"] @ NOISE[0], before[0])
        torch.testing.assert_close(model(NOISE), before, rtol=0, atol=1e-14)
        opt.train()
        with opt.unperturbed():
            torch.testing.assert_close(model(NOISE), before, rtol=0, atol=1e-14)


def test_beside_the_noise_the_exchange_is_the_base_optimizers():
    model, opt = build(("project",))
    other, bare = build()
    for net, optimizer in ((model, opt), (other, bare)):
        optimizer.train()
        if optimizer is opt:
            with opt.observe_noise():
                net(NOISE)
        for p in net.parameters():  # a gradient that doesn't depend on the weights
            for step in range(5):
                p.grad = torch.full_like(p, 1.0 + step)
                optimizer.step()
        optimizer.eval()
    torch.testing.assert_close(model.weight[:, 1:], other.weight[:, 1:])
    assert (model.weight[:, 0] - other.weight[:, 0]).abs().min() > 0.1


def test_saved_in_either_mode_it_goes_on_bit_by_bit():
    for training in (True, False):
        model, opt = build(("project", "one pass"))
        opt.train()
        train(model, opt, range(3))
        if not training:
            opt.eval()
        state = copy.deepcopy((model.state_dict(), opt.state_dict()))
        other, resumed = build(("project", "one pass"), seed=1)
        other.load_state_dict(state[0])
        resumed.load_state_dict(state[1])
        for net, optimizer in ((model, opt), (other, resumed)):
            optimizer.train()
            train(net, optimizer, range(3, 6))
        assert torch.equal(model.weight, other.weight)


def test_the_published_optimizer():
    schedulefree = pytest.importorskip("schedulefree")
    torch.manual_seed(0)
    model = nn.Linear(4, 2, bias=False).double()
    base = schedulefree.AdamWScheduleFree(model.parameters(), lr=0.1)
    opt = gradreg.regularize(
        base, model, smooth={"one_pass": True}, project={"energy": 1.0, "max_fraction": 0.5}
    )
    opt.train()
    with opt.observe_noise():
        before = model(NOISE)
    train(model, opt, range(20))
    opt.eval()
    assert not base.param_groups[0]["train_mode"]
    torch.testing.assert_close(model(NOISE), before)


def test_switching_inside_autocast_is_projected_as_exactly():
    torch.manual_seed(0)
    w = nn.Parameter(torch.randn(16, 16))
    opt = gradreg.NullSpaceProjector(ScheduleFreeSGD([w], lr=1.0), None)
    noise = torch.randn(40, 16)
    opt.protect(w, noise)
    opt.train()
    for _ in range(3):
        w.grad = torch.randn(16, 16)
        opt.step()
    before = w.detach().clone()
    with torch.autocast("cpu", torch.bfloat16):
        opt.eval()
        change = (w.detach() - before).double()
        basis = opt.basis(w)[0]
        opt.clear()
    assert change.norm() > 0.1
    assert (change @ basis).norm() <= 1e-5 * change.norm()
    assert (w.detach().double() @ basis).norm() <= 1e-5 * before.norm()
