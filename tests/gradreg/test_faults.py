"""Practical faults: the result is right, or the error clear and nothing is corrupted."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import gradreg

ORDERS = [
    *itertools.permutations(["mask", "smooth", "project"]),
    *itertools.permutations(["mask", "one pass", "project"]),
]
TWO_PASS = ("project", "smooth", "mask")
ONE_PASS = ("project", "one pass", "mask")


class Trouble(Exception):  # noqa: N818
    """An error that the tests raise."""


def clean_weights(model, opt):
    with opt.unperturbed():
        return [p.detach().clone() for p in model.parameters()]


def finite(model):
    return all(p.isfinite().all() for p in model.parameters())


def level_of(opt, kind):
    while not isinstance(opt, kind):
        opt = opt.inner
    return opt


# ---- Bad evidence, bad gradients ---------------------------------------------------------------


@given(
    order=st.sampled_from(ORDERS),
    evidence=st.lists(
        st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=6, max_size=6
    ),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool, torch.bfloat16]),
)
def test_noise_as_evidence_of_any_dtype_never_corrupts(lab, order, evidence, dtype):
    model = lab.make_net()
    opt = lab.stack(model, "Adam", order)
    values = torch.tensor(evidence)
    values = values if dtype.is_floating_point else values.nan_to_num().clamp(-9, 9)

    def closure():
        opt.zero_grad()
        out, keep = opt.verify(model(lab.batch(0)[0]), values.to(dtype)[:, None])
        assert keep.isfinite().all()
        assert ((keep >= 0) & (keep <= 1)).all()
        loss = out.square().mean()
        loss.backward()
        return loss

    for _ in range(3):
        opt.step(closure)
    assert finite(model)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_samples_rejected_on_arrival_leave_finite_weights(lab, order, bad):
    model = lab.make_net()
    opt = lab.stack(model, "Adam", order)
    for step in range(3):
        x, y = lab.batch(step)
        x[step] = bad

        def closure(x=x, y=y):
            opt.zero_grad()
            batch, good = opt.verify_input(x)
            assert good.sum() == 5
            out, keep = opt.verify(model(batch), torch.zeros(6, 1))
            assert keep.sum() == 5
            loss = (out - y).square().mean()
            loss.backward()
            return loss

        opt.step(closure)
    assert finite(model)
    assert level_of(opt, gradreg.PostVerificationMask).stats.skipped == 0


@pytest.mark.parametrize("order", ORDERS)
def test_zero_gradients_perturb_nothing(lab, order):
    """0/‖0‖ must not be NaN, in no perturbation and no basis."""
    model = lab.make_net()
    opt = lab.stack(model, "SGD foreach", order)
    before = clean_weights(model, opt)

    def closure():
        opt.zero_grad()
        loss = sum((p * 0.0).sum() for p in model.parameters())
        loss.backward()
        return loss

    with opt.observe_noise():
        model(torch.zeros(3, 2, 8))
    for _ in range(3):
        opt.step(closure)
    assert lab.same(before, clean_weights(model, opt))


@pytest.mark.parametrize("name", ["smooth, LookSAM", "smooth, ASAM", "smooth, Friendly LookSAM"])
def test_zero_gradients_perturb_nothing_in_the_other_smoothers(lab, name):
    model = lab.make_net()
    opt = lab.stack(model, "SGD foreach", (name,))

    def closure():
        opt.zero_grad()
        loss = sum((p * 0.0).sum() for p in model.parameters())
        loss.backward()
        return loss

    before = clean_weights(model, opt)
    for _ in range(4):
        opt.step(closure)
    assert lab.same(before, clean_weights(model, opt))


@pytest.mark.parametrize("order", ORDERS)
def test_an_empty_batch_is_no_step(lab, order):
    model = lab.make_net().eval()
    opt = lab.stack(model, "Adam", order)
    lab.train(model, opt, range(2))
    before = clean_weights(model, opt)

    def closure():
        opt.zero_grad()
        batch, good = opt.verify_input(torch.zeros(0, 2, 8))
        assert good.shape == (0,)
        out, keep = opt.verify(model(batch), torch.zeros(0, 1))
        assert keep.shape == (0, 1)
        loss = out.square().mean()  # NaN
        loss.backward()
        return loss

    opt.step(closure)
    assert level_of(opt, gradreg.PostVerificationMask).last.skipped
    assert lab.same(before, clean_weights(model, opt))
    lab.train(model, opt, range(2, 4))
    assert finite(model)


def test_observing_an_empty_batch_teaches_nothing(lab):
    model = lab.make_net().eval()
    opt = lab.stack(model, "Adam", ("project",))
    bare = lab.make_net().eval()
    other = lab.stack(bare, "Adam")
    with opt.observe_noise():
        model(torch.zeros(0, 2, 8))
    lab.train(model, opt, range(3), observe=False)
    lab.train(bare, other, range(3))
    assert lab.same(lab.state_of(model, opt), lab.state_of(bare, other))


# ---- Exceptions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Trouble, KeyboardInterrupt])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("order", ORDERS)
def test_an_exception_in_the_closure_leaves_everything_as_it_was(lab, order, call, when, error):
    if call == 2 and "smooth" not in order:
        order = ("smooth", *[level for level in order if level != "one pass"])
    model = lab.make_net()
    opt = lab.stack(model, "Adam", order)
    lab.train(model, opt, range(2))
    model.eval()  # the forward pass itself moves BatchNorm's statistics, as without a wrapper
    before = clean_weights(model, opt)
    state = lab.tensors_of(opt.state_dict()["state"])
    rest = [p.detach().clone() for p in model.parameters()]
    calls = []
    working = lab.make_closure(model, opt, 7)

    def closure():
        calls.append(1)
        if len(calls) == call and when == "before":
            raise error
        loss = working()
        if len(calls) == call:
            raise error
        return loss

    with pytest.raises(error):
        opt.step(closure)
    assert len(calls) == call
    assert lab.same(before, clean_weights(model, opt))
    assert lab.same(rest, list(model.parameters()))  # perturbed, where they rest so
    assert lab.same(state, lab.tensors_of(opt.state_dict()["state"]))
    lab.train(model, opt, range(2, 4))
    assert not lab.same(before, clean_weights(model, opt))


@pytest.mark.parametrize("order", ORDERS)
def test_after_an_exception_training_goes_on_as_if_it_had_not_been(lab, order):
    """The levels' own state too; priors apart, which learn from what they have seen."""
    results = []
    for troubled in (False, True):
        model = lab.make_net()
        model.norm = nn.Identity()
        opt = lab.stack(model, "AdamW", order)
        mask = level_of(opt, gradreg.PostVerificationMask)
        mask.prior = gradreg.WeakAmplitude(0.0, 1.5)
        lab.train(model, opt, range(2))
        if troubled:
            working = lab.make_closure(model, opt, 7)
            with pytest.raises(Trouble):
                opt.step(lambda working=working: (working(), _raise(Trouble()))[0])
        losses = lab.train(model, opt, range(2, 5))
        levels = lab.tensors_of(opt.state_dict()["gradreg"])
        results.append(([*lab.state_of(model, opt), *levels], losses))
    assert lab.same(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def _raise(error):
    raise error


@pytest.mark.parametrize("order", ORDERS)
def test_an_exception_in_a_pre_hook_is_no_step(lab, order):
    model = lab.make_net()
    opt = lab.stack(model, "Adam", order)
    lab.train(model, opt, range(2))
    before = clean_weights(model, opt)
    handle = opt.register_step_pre_hook(lambda *_: _raise(Trouble()))
    with pytest.raises(Trouble):
        opt.step(lab.make_closure(model, opt, 2))
    assert lab.same(before, clean_weights(model, opt))
    handle.remove()
    lab.train(model, opt, range(2, 4))


@pytest.mark.parametrize("order", ORDERS)
def test_an_exception_in_a_post_hook_comes_after_a_whole_step(lab, order):
    """The projection has been done by then; nothing of the step is lost."""
    results = []
    for troubled in (False, True):
        model = lab.make_net()
        opt = lab.stack(model, "Adam", order)
        lab.train(model, opt, range(3))
        if troubled:
            handle = opt.register_step_post_hook(lambda *_: _raise(Trouble()))
            with pytest.raises(Trouble):
                lab.train(model, opt, range(3, 4))
            handle.remove()
        else:
            lab.train(model, opt, range(3, 4))
        lab.train(model, opt, range(4, 6))
        levels = lab.tensors_of(opt.state_dict()["gradreg"])
        results.append([*lab.state_of(model, opt), *levels])
    assert lab.same(*results)


class Breaking(torch.optim.SGD):
    """Raises in a step: before it has done anything, or after its update."""

    when = "never"

    @torch.no_grad()
    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        if self.when == "before":
            raise Trouble
        super().step()
        if self.when == "after":
            raise Trouble
        return loss


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("order", ORDERS)
def test_an_optimizer_whose_step_raises(lab, order, when):
    """Weights are what the base optimizer left, no perturbation stays, and training continues."""
    model, other = lab.make_net(), lab.make_net()
    opt = Breaking(lab.groups_of(model), lr=0.05)
    bare = Breaking(lab.groups_of(other), lr=0.05)
    for level in order:
        opt = lab.NEUTRAL[level](opt, model)
    for stack, net in ((opt, model), (bare, other)):
        stack.register_step_pre_hook(lambda *_: None)
        lab.train(net, stack, range(1))
        getattr(stack, "base", stack).when = when
        with pytest.raises(Trouble):
            lab.train(net, stack, range(1, 2))
        getattr(stack, "base", stack).when = "never"
        lab.train(net, stack, range(2, 4))
    assert lab.same(clean_weights(model, opt), list(other.parameters()))

    opt = Breaking(lab.groups_of(model), lr=0.05)
    for level in order:
        opt = lab.WRAPPERS[level](opt, model)
    lab.train(model, opt, range(2))
    before = clean_weights(model, opt)
    opt.base.when = when
    with pytest.raises(Trouble):
        lab.train(model, opt, range(2, 3))
    if when == "before":
        assert lab.same(before, clean_weights(model, opt))
    opt.base.when = "never"
    lab.train(model, opt, range(3, 5))
    assert finite(model)


# ---- Unusual calls ------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_a_closure_may_return_none(lab, order):
    results = []
    for returns in (True, False):
        model = lab.make_net()
        opt = lab.stack(model, "Adam", order)
        for step in range(3):
            working = lab.make_closure(model, opt, step)
            loss = opt.step(working if returns else lambda working=working: (working(), None)[1])
            assert (loss is None) == (not returns)
        results.append(lab.state_of(model, opt))
    assert lab.same(*results)


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("order", ORDERS)
def test_a_step_inside_a_step_is_refused(lab, order, depth):
    model = lab.make_net()
    opt = lab.stack(model, "Adam", order)
    lab.train(model, opt, range(2))
    before = clean_weights(model, opt)
    inner = opt
    for _ in range(depth):
        inner = inner.inner
    working = lab.make_closure(model, opt, 2)

    def closure():
        loss = working()
        inner.step(working)
        return loss

    with pytest.raises(RuntimeError, match=r"step\(\) was called inside a step of the same"):
        opt.step(closure)
    assert lab.same(before, clean_weights(model, opt))
    handle = opt.register_step_post_hook(lambda *_: inner.step(working))
    with pytest.raises(RuntimeError, match=r"one of its hooks: make one step after the other"):
        opt.step(working)
    handle.remove()
    lab.train(model, opt, range(2, 4))


def test_a_base_optimizer_that_ignores_its_closure_is_found_out(lab):
    class Deaf(torch.optim.SGD):
        def step(self, closure=None):
            return super().step()

    model = lab.make_net()
    opt = gradreg.PostVerificationMask(Deaf(model.parameters(), lr=0.1), torch.ones_like)
    with pytest.raises(RuntimeError, match=r"Deaf\.step\(\) returned without calling its closure"):
        lab.train(model, opt, range(1))


def test_a_pre_hook_that_replaces_the_closure_is_found_out(lab):
    model = lab.make_net()
    opt = lab.stack(model, "SGD", TWO_PASS)
    working = lab.make_closure(model, opt, 0)
    opt.register_step_pre_hook(lambda base, args, kwargs: ((base, working), {}))
    with pytest.raises(RuntimeError, match=r"If a step pre-hook replaced the closure, remove it"):
        opt.step(working)


def test_two_wrappers_around_one_base_take_turns(lab):
    """Each acts in its own steps; the other's are plain ones."""
    model = lab.make_net()
    base = lab.stack(model, "SGD")
    mask, smooth = lab.WRAPPERS["mask"](base, model), lab.WRAPPERS["smooth"](base, model)
    for step in range(4):
        lab.train(model, (mask, smooth)[step % 2], range(step, step + 1))
    assert mask.stats.steps == 2
    assert smooth.state_dict()["gradreg"]["PerturbationSmoother"]["steps"] == 2
    assert mask.base is smooth.base is base
    working = lab.make_closure(model, mask, 0)
    with pytest.raises(RuntimeError, match="inside a step"):
        mask.step(lambda: (working(), mask.step(working))[0])


def test_two_one_pass_smoothers_around_one_base_are_found_out(lab):
    model = lab.make_net()
    base = lab.stack(model, "SGD")
    first, second = gradreg.OnePassSmoother(base), gradreg.OnePassSmoother(base)
    lab.train(model, first, range(2))
    with pytest.raises(RuntimeError, match="aren't the perturbed ones"):
        lab.train(model, second, range(2))
        lab.train(model, first, range(1))


# ---- Unusual parameters -------------------------------------------------------------------------


@pytest.mark.parametrize("order", [*ORDERS, ("mask, gradient prior",), ("smooth, LookSAM",)])
def test_an_empty_param_group_changes_nothing(lab, order):
    results = []
    for empty in (False, True):
        model = lab.make_net()
        groups = lab.groups_of(model)
        if empty:
            groups.insert(1, {"params": []})
        opt = torch.optim.AdamW(groups, lr=0.01)
        for level in order:
            opt = lab.WRAPPERS[level](opt, model)
        lab.train(model, opt, range(5))
        opt.load_state_dict(opt.state_dict())
        results.append(list(model.parameters()))
    assert lab.same(*results)


@pytest.mark.parametrize("order", [*ORDERS, ("mask, gradient prior",), ("smooth, LookSAM",)])
def test_an_optimizer_without_parameters_steps(lab, order):
    opt = torch.optim.SGD([{"params": []}], lr=0.1)
    for level in order:
        opt = lab.WRAPPERS[level](opt, nn.Identity())
    opt.step(lambda: torch.tensor(1.0))
    opt.load_state_dict(opt.state_dict())
    opt.step()


@pytest.mark.parametrize("level", ["smooth", "smooth, LookSAM", "one pass", "project"])
def test_a_parameter_that_changes_shape_is_an_error_or_a_fresh_start(lab, level):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    opt = gradreg.PostVerificationMask(
        lab.WRAPPERS[level](torch.optim.SGD(model.parameters(), lr=0.1), model), torch.ones_like
    )
    lab.train(model, opt, range(2))
    with opt.unperturbed():
        pass
    model[1].weight.data = torch.randn(2, 8)
    model[1].in_features = 8

    def closure():
        opt.zero_grad()
        loss = model(torch.ones(3, 8)).square().mean()
        loss.backward()
        return loss

    before = model[1].weight.detach().clone()
    try:
        opt.step(closure)
    except (RuntimeError, ValueError) as error:
        assert "shape" in str(error) or "perturbed ones" in str(error)
        assert torch.equal(before, model[1].weight)
    assert finite(model)


def test_a_layer_used_twice_is_observed_twice(lab):
    layer = nn.Linear(6, 6, bias=False).double()
    opt = gradreg.NullSpaceProjector(
        torch.optim.Adam(layer.parameters(), lr=0.1), layer, energy=1.0, max_fraction=1.0
    )
    noise = torch.randn(2, 6, dtype=torch.float64)
    with opt.observe_noise():
        hidden = layer(noise)
        layer(hidden)
    before = layer(noise), layer(hidden)
    for _ in range(3):
        opt.zero_grad()
        layer(layer(torch.randn(5, 6, dtype=torch.float64)).tanh()).square().sum().backward()
        opt.step()
    torch.testing.assert_close(layer(noise), before[0])
    torch.testing.assert_close(layer(hidden), before[1])


def test_complex_parameters_train_under_smoothers_and_masks(lab):
    """On |c|² the SAM step has a closed form; the norm takes real and imaginary parts."""
    start = torch.tensor([3.0 + 4.0j], dtype=torch.complex128)
    c = nn.Parameter(start.clone())
    opt = gradreg.PostVerificationMask(
        gradreg.PerturbationSmoother(torch.optim.SGD([c], lr=0.1), rho=0.5),
        lambda evidence: torch.ones(evidence.shape),
    )

    def closure():
        opt.zero_grad()
        out, _ = opt.verify(c)
        loss = 0.5 * (out * out.conj()).real.sum()
        loss.backward()
        return loss

    opt.step(closure)
    torch.testing.assert_close(c.detach(), start - 0.1 * (start + 0.5 * start / 5))
    w = nn.Parameter(start.clone())
    one = gradreg.OnePassSmoother(torch.optim.SGD([w], lr=0.1), rho=0.5)
    (0.5 * (w * w.conj()).real.sum()).backward()
    one.step()
    torch.testing.assert_close(w.detach(), 0.9 * start - 0.5 * start / 5)


@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
def test_a_projector_never_drops_the_imaginary_part(lab):
    """Either the response to noise stands still, or complex layers are refused."""
    layer = nn.Linear(4, 2, bias=False).to(torch.complex128)
    noise = torch.randn(1, 4, dtype=torch.complex128)
    try:
        opt = gradreg.NullSpaceProjector(
            torch.optim.SGD(layer.parameters(), lr=0.1), layer, energy=1.0
        )
        with opt.observe_noise():
            before = layer(noise)
    except TypeError as error:
        assert "complex" in str(error)
        return
    layer(torch.randn(3, 4, dtype=torch.complex128)).abs().square().sum().backward()
    opt.step()
    torch.testing.assert_close(layer(noise), before)


def test_parameters_of_mixed_dtypes_and_on_the_meta_device(lab):
    for order in (TWO_PASS, ONE_PASS):
        model = nn.ParameterDict(
            {
                "a": nn.Parameter(torch.ones(3, dtype=torch.bfloat16)),
                "b": nn.Parameter(torch.ones(3)),
                "c": nn.Parameter(torch.ones(3, dtype=torch.float64)),
                "frozen": nn.Parameter(torch.ones(3), requires_grad=False),
                "meta": nn.Parameter(torch.ones(3, device="meta")),  # not materialised yet
            }
        )
        opt = torch.optim.SGD(model.parameters(), lr=0.1)
        for level in order:
            opt = lab.WRAPPERS[level](opt, model)

        def closure(opt=opt, model=model):
            opt.zero_grad()
            loss = sum(model[name].square().sum().double() for name in "abc")
            loss.backward()
            return loss

        for _ in range(3):
            opt.step(closure)
        for name in "abc":
            assert model[name].isfinite().all()
            assert (model[name] < 0.9).all()
        assert torch.equal(model["frozen"], torch.ones(3))


def test_a_projector_refuses_a_differentiable_step(lab):
    """The projection is outside of the graph: the derivative would be silently wrong."""
    start = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    p = start.clone()
    opt = gradreg.NullSpaceProjector(torch.optim.SGD([p], lr=0.1, differentiable=True), None)
    p.grad = torch.full_like(p, 0.5)
    opt.step()  # nothing to project: as bare
    opt.protect(p, torch.eye(2, dtype=torch.float64)[:1])
    before = p.detach().clone()
    with pytest.raises(RuntimeError, match="expects an optimizer without differentiable=True"):
        opt.step()
    assert torch.equal(before, p)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("level", ["bare", "smooth", "one pass"])
def test_a_smoother_leaves_a_differentiable_step_differentiable(lab, level):
    """For given gradients g: w₂ = w₀ - η (g₁ + g₂), whatever the offsets in between."""
    start = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    gradient = torch.full_like(start, 0.5, requires_grad=True)
    p = start.clone()
    opt = torch.optim.SGD([p], lr=0.1, differentiable=True)
    if level != "bare":
        opt = lab.WRAPPERS[level](opt, nn.Identity())

    def closure():
        p.grad = gradient * 1.0

    for _ in range(2):
        opt.step(closure)
    if level == "one pass":
        opt.eval()
    by_start, by_gradient = torch.autograd.grad(p.square().sum(), [start, gradient])
    torch.testing.assert_close(p, start - 0.2 * gradient)
    torch.testing.assert_close(by_start, 2 * p)
    torch.testing.assert_close(by_gradient, -0.4 * p)


def test_a_param_group_taken_away_is_forgotten(lab):
    for order in (TWO_PASS, ONE_PASS, ("smooth, LookSAM",), ("smooth, Friendly LookSAM",)):
        model = lab.make_net()
        opt = lab.stack(model, "Adam", order)
        lab.train(model, opt, range(3))
        with opt.unperturbed():
            gone, *kept = opt.param_groups
            opt.param_groups = kept
        for p in gone["params"]:
            del opt.state[p]  # or torch itself can't save what is left
        lab.train(model, opt, range(3, 5))
        state = opt.state_dict()
        assert len(state["gradreg"]["shapes"]) == len(opt.parameters)
        opt.load_state_dict(state)
        lab.train(model, opt, range(5, 7))
        assert finite(model)
