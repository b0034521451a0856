"""Law 3: every scheduler of torch acts through a wrapper as on the bare optimizer."""

import copy
import inspect
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler, swa_utils

few = settings(max_examples=max(3, settings.default.max_examples // 8))


def halves(epoch):
    return 0.5**epoch


SCHEDULERS = {
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.5, 2), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, 2),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 4),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(
        o, 0.01, 0.1, step_size_up=2, cycle_momentum=cycles(o)
    ),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.5),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, halves),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.3, total_iters=4),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 4], 0.1),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda epoch: 0.9),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(
        o, 0.1, total_steps=9, cycle_momentum=cycles(o)
    ),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 4, 2.0),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, factor=0.5),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o, 0.1, 2), lr_scheduler.ExponentialLR(o, 0.5)], [2]
    ),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2, 0.1),
    "SWALR": lambda o: swa_utils.SWALR(o, swa_lr=0.001, anneal_epochs=3),
}


def cycles(opt):
    return "momentum" in opt.defaults or "betas" in opt.defaults


def level(opt, depth):
    for _ in range(depth):
        opt = opt.inner
    return opt


def test_the_table_holds_every_scheduler_of_torch():
    exported = {
        name
        for module in (lr_scheduler, swa_utils)
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, lr_scheduler.LRScheduler)
    }
    bases = {"LRScheduler", "_LRScheduler"}
    assert exported - SCHEDULERS.keys() == bases


def advance(scheduler, loss):
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        scheduler.step(loss)
    else:
        scheduler.step()


def rates(opt):
    keys = ("lr", "momentum", "betas", "initial_lr", "max_lr", "min_lr")
    return [
        {key: copy.deepcopy(group[key]) for key in keys if key in group}
        for group in opt.param_groups
    ]


@pytest.mark.parametrize("scheduler_name", list(SCHEDULERS))
@few
@given(
    name=st.sampled_from(["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adam, lr a tensor"]),
    depth=st.integers(0, 3),
    resumed_at=st.integers(0, 4),
)
def test_every_scheduler_on_any_level_acts_and_does_not_warn(
    lab, scheduler_name, name, depth, resumed_at
):
    """The same rates, momenta and weights as bare; also when all is saved and loaded midway."""
    results = []
    for levels in ((), ("project", "smooth", "mask")):

        def build(levels=levels):
            model = lab.make_net()
            opt = lab.stack(model, name, levels, neutral=True)
            return model, opt, SCHEDULERS[scheduler_name](level(opt, depth if levels else 0))

        history = []
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if scheduler_name in ("SequentialLR", "ChainedScheduler"):
                # torch's own: SequentialLR's construction steps, and passes an epoch on.
                warnings.filterwarnings("ignore", message="(?s).*epoch parameter in")
            model, opt, scheduler = build()
            for step in range(6):
                if step == resumed_at and step > 0:
                    saved = copy.deepcopy(
                        [model.state_dict(), opt.state_dict(), scheduler.state_dict()]
                    )
                    model, opt, scheduler = build()
                    model.load_state_dict(saved[0])
                    opt.load_state_dict(saved[1])
                    scheduler.load_state_dict(saved[2])
                [loss] = lab.train(model, opt, range(step, step + 1))
                advance(scheduler, loss)
                history.append(rates(opt))
        results.append((history, lab.state_of(model, opt)))
    bare, wrapped = results
    assert repr(bare[0]) == repr(wrapped[0])
    assert lab.same(bare[1], wrapped[1])
    assert repr(bare[0][0]) != repr(bare[0][-1])  # it did something


def test_every_optimizer_takes_a_scheduler_on_the_wrapper(lab, optimizer_name):
    results = []
    for levels in ((), ("project", "one pass", "mask")):
        model = lab.make_net()
        opt = lab.stack(model, optimizer_name, levels, neutral=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scheduler = lr_scheduler.OneCycleLR(opt, 0.1, total_steps=9, cycle_momentum=cycles(opt))
            lab.train(model, opt, range(4), scheduler)
        results.append((repr(rates(opt)), lab.state_of(model, opt)))
    assert results[0][0] == results[1][0]
    assert lab.same(results[0][1], results[1][1])


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_a_scheduler_called_in_the_wrong_order_warns_as_ever(lab, depth):
    model = lab.make_net()
    opt = lab.stack(model, "SGD", ("project", "smooth", "mask"))
    scheduler = lr_scheduler.ExponentialLR(level(opt, depth), 0.5)
    with pytest.warns(UserWarning, match=r"lr_scheduler.step\(\)` before `optimizer.step"):
        scheduler.step()


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_scheduler_built_before_more_levels_are_added_goes_on(lab, depth):
    model = lab.make_net()
    opt = lab.stack(model, "SGD", ("project", "smooth")[:depth])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler = lr_scheduler.ExponentialLR(opt, 0.5)
        opt = lab.WRAPPERS["mask"](opt, model)
        lab.train(model, opt, range(2), scheduler)
    assert [group["lr"] for group in opt.base.param_groups] == [0.0125, 0.005]


def test_a_param_group_added_through_the_wrapper_is_scheduled(lab):
    model, extra = lab.make_net(), torch.nn.Parameter(torch.zeros(2))
    opt = lab.stack(model, "SGD", ("project", "smooth", "mask"))
    opt.add_param_group({"params": [extra], "lr": 1.0})
    scheduler = lr_scheduler.StepLR(opt, 1, 0.5)
    lab.train(model, opt, range(2), scheduler)
    assert opt.base.param_groups[2]["lr"] == 0.25


def test_averaged_weights_and_swa(lab):
    """`AveragedModel`, `SWALR`, `update_bn` beside the full stack: averages of clean weights."""
    model = lab.make_net()
    opt = lab.stack(model, "SGD", ("project", "one pass", "mask"))
    average = swa_utils.AveragedModel(model)
    scheduler = swa_utils.SWALR(opt, swa_lr=0.001, anneal_epochs=2)
    kept = []
    for step in range(4):
        lab.train(model, opt, range(step, step + 1), scheduler)
        with opt.unperturbed():
            average.update_parameters(model)
            kept.append(model.head.weight.detach().clone())
    torch.testing.assert_close(average.module.head.weight, torch.stack(kept).mean(0))
    swa_utils.update_bn([lab.batch(step)[0] for step in range(2)], average)
    lab.train(model, opt, range(4, 6), scheduler)
