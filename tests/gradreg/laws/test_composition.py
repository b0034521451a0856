"""Law 7: every nesting runs; all orders of the three levels give the same trajectory.

That is so because no level acts where another one's order could matter: evidence and perturbations
live inside the closure, skips are decided after it, and the projector measures the change between
the clean weights just before and after the base optimizer's update (see `gradreg.wrapper`).
"""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradreg

LEVELS = [
    *itertools.combinations(["mask", "smooth", "project"], 2),
    *itertools.combinations(["mask", "one pass", "project"], 2),
    ("mask", "smooth", "project"),
    ("mask", "one pass", "project"),
]
SETS = sorted(set(LEVELS))
few = settings(max_examples=max(2, settings.default.max_examples // 10))


@pytest.mark.default_cases(11)
@few
@given(levels=st.sampled_from(SETS))
def test_every_nesting_runs_and_all_orders_agree(lab, optimizer_name, levels):
    refused = [lab.REFUSED[optimizer_name, x] for x in levels if (optimizer_name, x) in lab.REFUSED]
    results = []
    for order in itertools.permutations(levels):
        model = lab.make_net()
        opt = lab.stack(model, optimizer_name, order)
        if refused:
            before = lab.tensors_of(list(model.parameters()))
            with pytest.raises(TypeError, match=refused[0]):
                lab.train(model, opt, range(5))
            assert lab.same(before, lab.tensors_of(list(model.parameters())))
            continue
        losses = lab.train(model, opt, range(5))
        results.append((lab.state_of(model, opt), losses))
    assert all(lab.same(results[0][0], other[0]) for other in results)
    assert all(results[0][1] == other[1] for other in results)


@pytest.mark.parametrize("levels", SETS)
def test_every_set_of_levels_agrees_in_all_orders(lab, levels):
    """The same on two optimizers, with nothing left to chance."""
    for name in ("AdamW", "SGD foreach"):
        results = []
        for order in itertools.permutations(levels):
            model = lab.make_net()
            opt = lab.stack(model, name, order)
            losses = lab.train(model, opt, range(6))
            results.append((lab.state_of(model, opt), losses))
        assert all(lab.same(results[0][0], other[0]) for other in results)
        assert all(results[0][1] == other[1] for other in results)


def kind(lab, name):
    """The level that a wrapper of the table belongs to."""
    model = lab.make_net()
    wrapper = type(lab.WRAPPERS[name](lab.stack(model, "SGD"), model))
    smoothers = (gradreg.PerturbationSmoother, gradreg.OnePassSmoother)
    return smoothers if wrapper in smoothers else wrapper


@given(data=st.data())
def test_every_wrapper_of_the_table_commutes_with_those_of_other_levels(lab, data):
    first = data.draw(st.sampled_from(list(lab.WRAPPERS)))
    others = [name for name in lab.WRAPPERS if kind(lab, name) != kind(lab, first)]
    pair = (first, data.draw(st.sampled_from(others)))
    name = data.draw(st.sampled_from(["SGD", "Adam"]))
    results = []
    for order in (pair, pair[::-1]):
        model = lab.make_net()
        opt = lab.stack(model, name, order)
        losses = lab.train(model, opt, range(6))
        results.append((lab.state_of(model, opt), losses))
    assert lab.same(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_two_levels_of_one_kind_both_act(lab):
    """Two masks, projectors or smoothers around each other: nothing is lost, whatever the order."""
    model = lab.make_net()
    opt = lab.stack(model, "Adam", ("smooth", "smooth"))
    calls = []
    for step in range(3):
        closure = lab.make_closure(model, opt, step)
        opt.step(lambda closure=closure: (calls.append("pass"), closure())[1])
    assert len(calls) == 3 * 4  # two passes, each of two passes
    model = lab.make_net()
    opt = lab.stack(model, "Adam", ("project", "mask", "project"))
    lab.train(model, opt, range(4))
    assert opt.state_dict()["gradreg"].keys() >= {"NullSpaceProjector", "NullSpaceProjector#2"}
