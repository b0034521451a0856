"""Law 8: a skipped step leaves everything untouched; scaling and accumulation included."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import gradreg

ORDERS = [
    *itertools.permutations(["mask", "smooth", "project"]),
    *itertools.permutations(["mask", "one pass", "project"]),
]
few = settings(max_examples=max(3, settings.default.max_examples // 8))


@few
@given(order=st.sampled_from(ORDERS), taken=st.integers(0, 3), closed=st.booleans())
def test_a_step_that_keeps_nothing_leaves_everything_untouched(
    lab, optimizer_name, order, taken, closed
):
    model = lab.make_net()
    lbfgs = optimizer_name.startswith("LBFGS")
    closed = closed or lbfgs
    order = tuple(
        level
        for level in order
        if (closed or level != "smooth") and (optimizer_name, level) not in lab.REFUSED
    )
    opt = lab.stack(model, optimizer_name, order)
    lab.train(model, opt, range(taken))
    with opt.observe_noise():
        model(lab.batch(77)[0])
    model.eval()  # BatchNorm's statistics are the forward pass's business
    if lbfgs and not taken:
        # torch writes its two counters, both 0, before it calls the closure.
        opt.state[model.conv.weight].update(func_evals=0, n_iter=0)
    before = lab.state_of(model, opt)
    calls = []
    opt.register_step_pre_hook(lambda *_: calls.append("pre"))
    opt.register_step_post_hook(lambda *_: calls.append("post"))
    x, y = lab.batch(9)

    def closure():
        opt.zero_grad()
        out, keep = opt.verify(model(x), evidence=torch.full((6, 1), 99.0))
        assert keep.sum() == 0
        loss = (out - y).square().mean()
        loss.backward()
        if optimizer_name == "SparseAdam":
            for p in model.parameters():
                p.grad = p.grad.to_sparse()
        return loss

    loss = opt.step(closure) if closed else (closure(), opt.step())[0]
    mask = opt
    while not isinstance(mask, gradreg.PostVerificationMask):
        mask = mask.inner
    assert mask.last == gradreg.MaskStep(kept=0.0, skipped=True)
    assert mask.stats.skipped == 1
    assert loss > 0
    assert calls == ["pre"]
    assert lab.same(before, lab.state_of(model, opt))


def test_lbfgs_moves_on_after_a_skip(lab):
    w = nn.Parameter(torch.tensor([2.0, -3.0]))
    opt = gradreg.PostVerificationMask(
        torch.optim.LBFGS([w], line_search_fn="strong_wolfe"), gradreg.WeakAmplitude(0.0, 1.0)
    )

    def closure(amplitude):
        opt.zero_grad()
        out, _ = opt.verify(w * 1.0, evidence=torch.tensor(amplitude))
        loss = (out - 1).square().sum()
        loss.backward()
        return loss

    opt.step(lambda: closure(5.0))
    assert w.tolist() == [2.0, -3.0]
    opt.step(lambda: closure(0.5))
    assert torch.allclose(w, torch.ones(2), atol=1e-4)


# ---- Loss scaling and accumulation ---------------------------------------------------------------


@pytest.mark.parametrize("order", [("project", "mask"), ("mask", "project")])
def test_gradscaler_steps_and_skips(lab, order):
    model = lab.make_net()
    opt = lab.stack(model, "AdamW", order)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def iteration(step, poison=1.0):
        x, y = lab.batch(step)
        opt.zero_grad()
        out, _ = opt.verify(model(x), evidence=torch.zeros(6, 1))
        scaler.scale((out - y).square().mean() * poison).backward()
        scaler.step(opt)
        scaler.update()

    plain = lab.make_net()
    bare = lab.stack(plain, "AdamW")
    for step in range(3):
        iteration(step)
        lab.train(plain, bare, range(step, step + 1))
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    before = lab.state_of(nn.ModuleList([model.conv, model.head]), opt)
    iteration(3, poison=float("inf"))
    assert lab.same(before, lab.state_of(nn.ModuleList([model.conv, model.head]), opt))
    assert scaler.get_scale() == 512.0


def test_an_overflowing_iteration_does_not_vouch_for_the_next(lab):
    model = lab.make_net()
    opt = lab.stack(model, "SGD", ("mask",))
    scaler = torch.amp.GradScaler("cpu")
    for evidence, poison in ((0.0, float("inf")), (99.0, 1.0)):
        opt.zero_grad()
        out, _ = opt.verify(model(lab.batch(0)[0]), evidence=torch.full((6, 1), evidence))
        scaler.scale(out.square().mean() * poison).backward()
        scaler.step(opt)
        scaler.update()
    assert opt.last.skipped


@pytest.mark.parametrize("order", ORDERS)
def test_gradscaler_through_a_closure(lab, order):
    model = lab.make_net(torch.float64)
    opt = lab.stack(model, "AdamW", order)
    plain = lab.make_net(torch.float64)
    other = lab.stack(plain, "AdamW", order)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(3):
        x, y = lab.batch(step, torch.float64)

        def closure(x=x, y=y):
            opt.zero_grad()
            out = model(x)
            out, _ = opt.verify(out, evidence=(out - y).detach().abs())
            scaler.scale((out - y).square().mean()).backward()

        opt.step(closure, scaler=scaler)
        scaler.update()
        lab.train(plain, other, range(step, step + 1), observe=False)
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    before = [p.detach().clone() for p in model.parameters()]

    def poisoned():
        opt.zero_grad()
        scaler.scale(model(lab.batch(0, torch.float64)[0]).sum() * torch.inf).backward()

    opt.step(poisoned, scaler=scaler)
    scaler.update()
    assert lab.same(before, list(model.parameters()))
    assert scaler.get_scale() == 512.0


def test_the_first_closure_call_decides_and_levels_act_once_a_step():
    """LBFGS evaluates its closure many times a step, and moves parameters in between."""

    class Counting(gradreg.OptimizerWrapper):
        def __init__(self, optimizer):
            super().__init__(optimizer)
            self.calls = []

        def begin_pass(self):
            self.calls.append("pass")

        def accept(self):
            self.calls.append("accept")
            return True

        def before_update(self):
            self.calls.append("before")

        def after_update(self):
            self.calls.append("after")

    w = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    opt = Counting(torch.optim.LBFGS([w], line_search_fn="strong_wolfe"))

    def closure():
        opt.zero_grad()
        loss = (w**4).sum()
        loss.backward()
        return loss

    opt.step(closure)
    assert opt.calls.count("pass") > 2
    assert [call for call in opt.calls if call != "pass"] == ["accept", "before", "after"]
    assert opt.calls[:3] == ["pass", "accept", "before"]


def test_gradient_accumulation_equals_the_joined_batch(lab):
    models = [lab.make_net(torch.float64), lab.make_net(torch.float64)]
    for model, parts in zip(models, (1, 3), strict=True):
        model.norm = nn.Identity()  # its statistics see the micro-batch
        opt = lab.stack(model, "Adam", ("project", "mask"))
        for step in range(3):
            opt.zero_grad()
            x, y = lab.batch(step, torch.float64)
            for xs, ys in zip(x.chunk(parts), y.chunk(parts), strict=True):
                evidence = xs[:, :1, 0].abs()
                out, _ = opt.verify(model(xs), evidence, prior=gradreg.WeakAmplitude(0.0, 1.0))
                ((out - ys).square().mean() / parts).backward()
            opt.step()
        assert 0 < opt.stats.kept < 1
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(a, b)
