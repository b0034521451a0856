"""The arguments of a base optimizer's step: closures that are absent, and further arguments."""

import re

import pytest
import torch
from torch import nn

import gradreg

LEVELS = {
    "mask": lambda opt: gradreg.PostVerificationMask(opt, torch.ones_like),
    "one pass": lambda opt: gradreg.OnePassSmoother(opt, 0.0),
    "project": lambda opt: gradreg.NullSpaceProjector(opt, None),
    "two levels": lambda opt: gradreg.PostVerificationMask(gradreg.OnePassSmoother(opt, 0.0)),
}


class UsesItsLoss(torch.optim.SGD):
    """As EmoNavi: where there is a closure, there is a loss."""

    def step(self, closure=None):
        if closure is not None:
            self.loss = closure().item()
        return super().step()


class TakesNoClosure(torch.optim.SGD):
    def step(self):
        return super().step()


class TakesMore(torch.optim.SGD):
    def step(self, closure=None, hessian=None, *, damping=0.0):
        self.seen = (hessian, damping)
        return super().step(closure)


def problem(kind):
    w = nn.Parameter(torch.tensor([1.0, 2.0]))
    base = kind([w], lr=0.1)
    return w, base


def backward(w):
    w.grad = None
    loss = w.square().sum()
    loss.backward()
    return loss


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", [UsesItsLoss, TakesNoClosure])
def test_without_a_closure_the_base_gets_none(level, kind):
    w, base = problem(kind)
    opt = LEVELS[level](base)
    events = []
    opt.register_step_pre_hook(lambda *_: events.append("before"))
    opt.register_step_post_hook(lambda *_: events.append("after"))
    other, bare = problem(kind)
    reference = []
    bare.register_step_pre_hook(lambda *_: reference.append("before"))
    bare.register_step_post_hook(lambda *_: reference.append("after"))
    for _ in range(3):
        backward(w), backward(other)
        assert opt.step() is None
        bare.step()
    assert torch.equal(w, other)
    assert events == reference


def test_with_a_closure_the_base_gets_the_loss():
    w, base = problem(UsesItsLoss)
    gradreg.OnePassSmoother(base).step(lambda: backward(w))
    assert base.loss == 5.0


def test_hooks_of_the_caller_come_before_the_levels_decide():
    """A step pre-hook may write the gradient, or clip it."""
    w, base = problem(torch.optim.SGD)
    opt = gradreg.PostVerificationMask(base, gradient_prior=gradreg.NormOutlier(2.0, warmup=1))

    @opt.register_step_pre_hook
    def clip(*_):
        w.grad.clamp_(-1, 1)

    for scale in (1.0, 100.0):
        w.grad = torch.full_like(w, scale)
        opt.step()
        assert not opt.last.skipped


@pytest.mark.parametrize("level", LEVELS)
def test_a_skipped_step_without_closure_leaves_no_hook(level):
    w, base = problem(torch.optim.SGD)
    opt = gradreg.PostVerificationMask(LEVELS[level](base), torch.zeros_like)
    before = len(base._optimizer_step_pre_hooks)
    out, _ = opt.verify(w * 1.0)
    out.sum().backward()
    opt.step()
    assert opt.last.skipped
    assert w.tolist() == [1.0, 2.0]
    assert len(base._optimizer_step_pre_hooks) == before


@pytest.mark.parametrize("level", LEVELS)
def test_an_optimizer_that_needs_a_closure_says_so(level):
    w, base = problem(torch.optim.LBFGS)
    opt = LEVELS[level](base)
    backward(w)
    with pytest.raises(TypeError, match=r"LBFGS\.step\(\) expects a closure, found none: .*scaler"):
        opt.step()
    assert w.tolist() == [1.0, 2.0]
    opt.step(lambda: backward(w))
    assert w.square().sum() < 5


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("closed", [True, False])
def test_further_arguments_reach_the_base(level, closed):
    w, base = problem(TakesMore)
    opt = LEVELS[level](base)
    backward(w)
    opt.step((lambda: backward(w)) if closed else None, "h", damping=0.5)
    assert base.seen == ("h", 0.5)
    opt.step(hessian="g")
    assert base.seen == ("g", 0.0)
    torch.testing.assert_close(w.detach(), torch.tensor([0.6, 1.2]))


def test_arguments_that_the_base_lacks_are_named_before_anything_happens():
    w, base = problem(TakesMore)
    opt = gradreg.OnePassSmoother(base)
    backward(w)
    with pytest.raises(TypeError, match=re.escape("TakesMore.step(") + ".*'lamda'"):
        opt.step(lambda: pytest.fail("not called"), lamda=1)
    assert w.tolist() == [1.0, 2.0]
