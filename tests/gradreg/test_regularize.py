"""All three levels in one call: what each argument may be, and what is refused early."""

import pytest
import torch
from torch import nn

import gradreg
from gradreg import regularize


def levels(opt):
    names = []
    while isinstance(opt, gradreg.OptimizerWrapper):
        names.append(type(opt).__name__)
        opt = opt.inner
    return names


def bare(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def test_true_is_a_level_with_its_defaults_and_none_or_false_leaves_it_out():
    model = nn.Linear(2, 1)
    opt = regularize(bare(model), model, mask=True, smooth=True, project=True)
    assert levels(opt) == ["PostVerificationMask", "PerturbationSmoother", "NullSpaceProjector"]
    assert opt.prior is None
    assert opt.inner.rho == gradreg.PerturbationSmoother(bare(model)).rho
    assert opt.inner.model is model
    plain = bare(model)
    assert regularize(plain, model, mask=False, smooth=None, project=False) is plain


def test_the_main_argument_alone_or_all_by_name():
    model, prior, other = nn.Linear(2, 1), gradreg.WeakAmplitude(0.0, 1.0), nn.Linear(3, 1)
    opt = regularize(bare(model), model, mask=prior, smooth=0.0)
    assert (opt.prior, opt.inner.rho) == (prior, 0.0)
    perturbation = gradreg.ASAM()
    smooth = {
        "rho": lambda step: 0.1,
        "perturbation": perturbation,
        "every": 5,
        "alpha": 0.5,
        "model": other,
        "replay_rng": True,
    }
    opt = regularize(bare(model), model, mask={"prior": prior, "soft": False}, smooth=smooth)
    assert not opt.soft
    assert {name: getattr(opt.inner, name) for name in smooth} == smooth
    opt = regularize(bare(model), model, smooth={"one_pass": True, "beta": 0.5})
    assert levels(opt) == ["OnePassSmoother"]
    assert opt.beta == 0.5
    opt = regularize(bare(model), model, smooth={"one_pass": False, "rho": 0.2})
    assert levels(opt) == ["PerturbationSmoother"]


def test_a_model_that_the_optimizer_does_not_train_is_refused_where_it_is_looked_into():
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    for level in ("project", "smooth"):
        with pytest.raises(ValueError, match=rf"{level}=.*none of whose 2 parameters"):
            regularize(bare(model), other, **{level: 0.5})
    regularize(bare(model), other, mask=True, smooth={"one_pass": True})
    temperature = nn.Parameter(torch.ones(1))
    opt = torch.optim.SGD([*model.parameters(), temperature], lr=0.1)
    regularize(opt, model, smooth=0.1, project=0.9)


def test_wrong_kinds_of_things_are_named():
    model = nn.Linear(2, 1)
    with pytest.raises(TypeError, match="optimizer instance, found <class"):
        regularize(torch.optim.SGD, model)
    with pytest.raises(TypeError, match=r"torch\.nn\.Module, found \[\]"):
        regularize(bare(model), [])
    with pytest.raises(TypeError, match="unexpected keyword argument 'radius'"):
        regularize(bare(model), model, smooth={"radius": 0.1})
    with pytest.raises(TypeError, match="number for the radius rho, found True"):
        regularize(bare(model), model, smooth={"rho": True})
