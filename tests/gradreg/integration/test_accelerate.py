"""Accelerate's `prepare` around each wrapper."""

import pytest
import torch
from torch import nn

import gradreg

accelerate = pytest.importorskip(
    "accelerate", reason="accelerate comes with the extra `integration`"
)

OPEN = [("mask",), ("one pass",), ("project",), ("project", "one pass", "mask")]
CLOSED = [("smooth",), ("project", "smooth", "mask")]


@pytest.fixture(autouse=True)
def _fresh_state():
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


def prepared(lab, levels, accelerator, seed=0):
    """Model, the wrapper (to verify, observe, evaluate), and Accelerate's optimizer around it."""
    model = lab.make_net(seed=seed)
    opt = lab.stack(model, "AdamW", levels)
    if lab.has(opt, gradreg.NullSpaceProjector):
        with opt.observe_noise():
            model(lab.batch(500)[0][:2])
    scheduler = torch.optim.lr_scheduler.ExponentialLR(opt, 0.9)
    run, outer, scheduler = accelerator.prepare(model, opt, scheduler)
    return model, opt, run, outer, scheduler


def loss_of(lab, run, opt, x, y):
    out = run(x)
    if lab.has(opt, gradreg.PostVerificationMask):
        out, _ = opt.verify(out, evidence=(out - y).detach().abs())
    return (out - y).square().mean()


def train(lab, levels, accelerator, model, opt, run, outer, scheduler, steps, clip=None, parts=1):
    """Accelerate's loop, closure-less, or its closure where one is needed."""
    for step in steps:
        x, y = lab.batch(step)
        micro = list(zip(x.chunk(parts), y.chunk(parts), strict=True))
        if "smooth" in levels:

            def closure(micro=micro):
                outer.zero_grad()
                for xs, ys in micro:
                    accelerator.backward(loss_of(lab, run, opt, xs, ys) / len(micro))
                if clip is not None:
                    accelerator.clip_grad_norm_(model.parameters(), clip)

            outer.step(closure)
            scheduler.step()
            continue
        for xs, ys in micro:
            with accelerator.accumulate(run):
                accelerator.backward(loss_of(lab, run, opt, xs, ys))
                if accelerator.sync_gradients and clip is not None:
                    accelerator.clip_grad_norm_(model.parameters(), clip)
                outer.step()
                scheduler.step()
                outer.zero_grad()


def by_hand(lab, levels, steps, clip=None, parts=1):
    model = lab.make_net()
    opt = lab.stack(model, "AdamW", levels)
    if lab.has(opt, gradreg.NullSpaceProjector):
        with opt.observe_noise():
            model(lab.batch(500)[0][:2])
    scheduler = torch.optim.lr_scheduler.ExponentialLR(opt, 0.9)
    for step in steps:
        x, y = lab.batch(step)

        def closure(x=x, y=y):
            opt.zero_grad()
            for xs, ys in zip(x.chunk(parts), y.chunk(parts), strict=True):
                (loss_of(lab, model, opt, xs, ys) / parts).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)

        opt.step(closure)
        scheduler.step()
    return model, opt


@pytest.mark.parametrize("levels", OPEN + CLOSED)
@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("parts", [1, 2])
def test_a_prepared_loop_trains_as_a_plain_one(lab, levels, clip, parts):
    accelerator = accelerate.Accelerator(
        cpu=True, gradient_accumulation_steps=1 if "smooth" in levels else parts
    )
    parts_of = prepared(lab, levels, accelerator)
    train(lab, levels, accelerator, *parts_of, range(4), clip, parts)
    model, opt = by_hand(lab, levels, range(4), clip, parts)
    assert lab.same(list(parts_of[0].parameters()), list(model.parameters()))
    if "mask" in levels:
        assert parts_of[1].stats == opt.stats


@pytest.mark.parametrize("levels", CLOSED)
def test_two_passes_without_a_closure_name_the_way_out(lab, levels):
    accelerator = accelerate.Accelerator(cpu=True)
    _, opt, run, outer, _ = prepared(lab, levels, accelerator)
    accelerator.backward(loss_of(lab, run, opt, *lab.batch(0)))
    with pytest.raises(RuntimeError, match=r"step\(\) without one.*OnePassSmoother"):
        outer.step()


@pytest.mark.parametrize("levels", OPEN + CLOSED)
@pytest.mark.parametrize("clean", [True, False])
def test_training_goes_on_bit_exactly_from_a_saved_state(lab, levels, clean, tmp_path):
    accelerator = accelerate.Accelerator(cpu=True)
    first = prepared(lab, levels, accelerator)
    train(lab, levels, accelerator, *first, range(4))
    if clean:
        first[3].eval()  # Accelerate's optimizer passes it on
    accelerator.save_state(tmp_path)
    first[3].train()
    train(lab, levels, accelerator, *first, range(4, 7))

    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()
    accelerator = accelerate.Accelerator(cpu=True)
    second = prepared(lab, levels, accelerator, seed=1)
    accelerator.load_state(tmp_path)
    second[3].train()
    train(lab, levels, accelerator, *second, range(4, 7))
    assert lab.same(lab.state_of(first[0], first[1]), lab.state_of(second[0], second[1]))


@pytest.mark.parametrize("levels", OPEN + CLOSED)
def test_bfloat16(lab, levels):
    accelerator = accelerate.Accelerator(cpu=True, mixed_precision="bf16")
    parts = prepared(lab, levels, accelerator)
    before = [p.detach().clone() for p in parts[0].parameters()]
    train(lab, levels, accelerator, *parts, range(4))
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in parts[0].parameters())
    assert not lab.same(before, list(parts[0].parameters()))


def test_unwrapping_the_model_gives_the_one_that_was_wrapped(lab):
    accelerator = accelerate.Accelerator(cpu=True)
    model, opt, run, outer, _ = prepared(lab, ("project", "one pass", "mask"), accelerator)
    assert accelerator.unwrap_model(run) is model
    assert outer.optimizer is opt
    assert outer.param_groups is opt.base.param_groups
