"""Verification at the perturbed weights: the pass whose gradient is used decides, in any order."""

import itertools

import pytest
import torch
from torch import nn

import gradreg
from gradreg import SAM, Entropy, Gaussian, MaskStep, PerturbationSmoother, PostVerificationMask

ORDERS = [("mask", "smooth"), ("smooth", "mask"), ("project", "mask", "smooth")]
WEAK = gradreg.WeakAmplitude(0.0, 1.0)
DRAWS = {"SAM": SAM(), "Gaussian": Gaussian(4)}


def wrapped(w, order, perturbation, prior=WEAK):
    """AdamW after one step, so that momentum and weight decay would move the weights."""
    opt = torch.optim.AdamW([w], lr=0.1, weight_decay=0.5)
    for level in order:
        if level == "mask":
            opt = PostVerificationMask(opt, prior)
        elif level == "smooth":
            opt = PerturbationSmoother(opt, 0.1, perturbation)
        else:
            opt = gradreg.NullSpaceProjector(opt, nn.Identity())
    opt.step(closure_of(w, opt, itertools.repeat([0.5, 0.5])))
    return opt, next(m for m in chain(opt) if isinstance(m, PostVerificationMask))


def chain(opt):
    while isinstance(opt, gradreg.OptimizerWrapper):
        yield opt
        opt = opt.inner


def closure_of(w, opt, evidence, calls=None):
    """Two micro-batches a pass; `evidence` gives one number for each."""
    evidence = iter(evidence)

    def closure():
        opt.zero_grad()
        values = next(evidence)
        if calls is not None:
            calls.append(w.detach().clone())
        for value in values:
            out, _ = opt.verify(w * 1.0, torch.full_like(w, value))
            (0.5 * out.square().sum()).backward()
        return torch.ones(())

    return closure


def snapshot(w, opt):
    state = opt.base.state[w]
    return [w.detach().clone(), *(state[k].clone() for k in ("step", "exp_avg", "exp_avg_sq"))]


def passes(first, others, name):
    return [first, *[others] * (4 if name == "Gaussian" else 1)]


NOTHING, HALF, ALL = [9.0, 9.0], [9.0, 0.5], [0.5, 0.5]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize(
    ("first", "others"), [(NOTHING, NOTHING), (NOTHING, ALL), (ALL, NOTHING), (HALF, NOTHING)]
)
def test_no_step_where_the_first_pass_or_the_others_keep_nothing(order, name, first, others):
    w = nn.Parameter(torch.tensor([1.0, -2.0]))
    opt, mask = wrapped(w, order, DRAWS[name])
    before = snapshot(w, opt)
    loss = opt.step(closure_of(w, opt, passes(first, others, name)))
    assert loss == 1
    assert all(torch.equal(a, b) for a, b in zip(before, snapshot(w, opt), strict=True))
    assert mask.last == MaskStep(kept=0.0, skipped=True)
    fractions = {9.0: 0.0, 0.5: 1.0}
    assert mask.last.passes == tuple(
        sum(fractions[v] for v in values) / 2 for values in passes(first, others, name)
    )
    assert mask.stats.skipped == 1
    opt.step(closure_of(w, opt, itertools.repeat(ALL)))
    assert not mask.last.skipped
    assert not torch.equal(w, before[0])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize(("first", "others"), [(HALF, ALL), (ALL, HALF), (HALF, HALF)])
def test_a_step_where_both_keep_something_reports_the_pass_it_used(order, name, first, others):
    w = nn.Parameter(torch.tensor([1.0, -2.0]))
    opt, mask = wrapped(w, order, DRAWS[name])
    before = snapshot(w, opt)
    opt.step(closure_of(w, opt, passes(first, others, name)))
    assert not torch.equal(w, before[0])
    assert opt.base.state[w]["step"] == 2
    assert mask.last == MaskStep(kept=0.5 if others == HALF else 1.0, skipped=False)


def test_one_of_several_draws_is_enough_and_they_share_one_fraction():
    w = nn.Parameter(torch.tensor([1.0, -2.0]))
    opt, mask = wrapped(w, ("smooth", "mask"), DRAWS["Gaussian"])
    opt.step(closure_of(w, opt, [ALL, NOTHING, NOTHING, HALF, NOTHING]))
    assert mask.last == MaskStep(kept=1 / 8, skipped=False)
    assert mask.last.passes == (1, 0, 0, 0.5, 0)


@pytest.mark.parametrize("order", ORDERS)
def test_without_a_gradient_to_climb_the_weights_are_not_perturbed(order):
    w, calls = nn.Parameter(torch.tensor([1.0, -2.0])), []
    opt, _ = wrapped(w, order, SAM())
    opt.step(closure_of(w, opt, [NOTHING, NOTHING], calls))
    assert all(torch.equal(w, at) for at in calls)


@pytest.mark.parametrize("order", ORDERS)
def test_steps_of_one_pass_are_decided_by_it(order):
    """rho = 0, and the steps in which LookSAM reuses what it has."""
    for options, expected in (({"rho": 0.0}, [1, 1]), ({"rho": 0.1, "every": 2}, [2, 1])):
        w = nn.Parameter(torch.tensor([1.0, -2.0]))
        opt = torch.optim.AdamW([w], lr=0.1, weight_decay=0.5)
        for level in order:
            if level == "mask":
                opt = PostVerificationMask(opt, gradreg.WeakAmplitude(0.0, 1.0))
            elif level == "smooth":
                opt = PerturbationSmoother(opt, **options)
        mask = next(m for m in chain(opt) if isinstance(m, PostVerificationMask))
        for evidence, count in zip((ALL, NOTHING), expected, strict=True):
            calls = []
            before = w.detach().clone()
            opt.step(closure_of(w, opt, itertools.repeat(evidence), calls))
            assert len(calls) == count
            assert mask.last.skipped == torch.equal(before, w) == (evidence is NOTHING)


@pytest.mark.parametrize("order", ORDERS)
def test_priors_learn_from_the_first_pass_alone(order):
    w = nn.Parameter(torch.tensor([1.0, -2.0]))
    prior = gradreg.WeakAmplitude(0.0, 9.0, adaptive=0.5, momentum=1.0)
    opt, _ = wrapped(w, order, SAM(), prior)
    opt.step(closure_of(w, opt, [[2.0, 3.0], [5.0, 7.0]]))
    assert prior.quantile == 3.0


def test_two_masks_decide_each_for_itself():
    w = nn.Parameter(torch.tensor([1.0, -2.0]))
    inner = PostVerificationMask(torch.optim.SGD([w], lr=0.1), gradreg.WeakAmplitude(0.0, 1.0))
    opt = PostVerificationMask(
        PerturbationSmoother(inner, 0.1), gradient_prior=gradreg.SignAgreement()
    )
    for evidence, sign, expected in (
        ([ALL, ALL], 1, (False, False)),
        ([ALL, NOTHING], 1, (False, True)),
        ([ALL, ALL], -1, (True, False)),
    ):
        source = iter(evidence)

        def closure(source=source, sign=sign):
            opt.zero_grad()
            out, _ = inner.verify(w * 1.0, torch.full_like(w, next(source)[0]))
            (sign * out.sum()).backward()

        before = w.detach().clone()
        opt.step(closure)
        assert (opt.last.skipped, inner.last.skipped) == expected
        assert torch.equal(before, w) == any(expected)


@pytest.mark.parametrize("order", ORDERS[:2])
def test_sharpness_aware_test_time_adaptation(order):
    """SAR, whole: confident samples, perturb, the samples confident there, the mean over them."""
    torch.manual_seed(0)
    x = torch.randn(64, 4)

    def entropies(logits):
        return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)

    def reference(model, rho, lr):
        """Algorithm 1 of the paper, spelt out for plain SGD."""
        params, limit = list(model.parameters()), 0.4 * torch.log(torch.tensor(3.0))
        first = entropies(model(x))
        first = first[first < limit]
        clean = [p.detach().clone() for p in params]
        grads = torch.autograd.grad(first.mean(), params)
        norm = torch.cat([g.flatten() for g in grads]).norm()
        with torch.no_grad():
            for p, g in zip(params, grads, strict=True):
                p.add_(rho * g / norm)
        second = entropies(model(x))
        second = second[second < limit]
        grads = torch.autograd.grad(second.mean(), params)
        with torch.no_grad():
            for p, c, g in zip(params, clean, grads, strict=True):
                p.copy_(c - lr * g)
        return len(first), len(second)

    models = []
    for _ in range(2):
        torch.manual_seed(1)
        models.append(nn.Linear(4, 3))
        models[-1].weight.data.mul_(5.0)
    opt = torch.optim.SGD(models[1].parameters(), lr=0.1)
    for level in order:
        if level == "mask":
            opt = PostVerificationMask(opt, Entropy(0.4, keepdim=False))
        else:
            opt = PerturbationSmoother(opt, rho=0.5)

    def closure():
        opt.zero_grad()
        logits = models[1](x)
        losses, keep = opt.verify(entropies(logits), evidence=logits)
        loss = torch.where(keep > 0, losses, 0).sum() / keep.sum().clamp_min(1)
        loss.backward()
        return loss

    mask = next(m for m in chain(opt) if isinstance(m, PostVerificationMask))
    seen = []
    for _ in range(4):
        counts = reference(models[0], rho=0.5, lr=0.1)
        assert min(counts) > 0
        seen.append(counts)
        opt.step(closure)
        assert mask.last.passes == pytest.approx([n / 64 for n in counts])
        for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
            torch.testing.assert_close(a, b)
    assert any(first != second for first, second in seen)
    models[1].weight.data.zero_()  # nothing is certain any more
    models[1].bias.data.zero_()
    opt.step(closure)
    assert mask.last.skipped
    assert not models[1].weight.any()
