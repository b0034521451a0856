"""Mixed precision, clipping and accumulation: the loops that people write, for each wrapper."""

import pytest
import torch
from torch import nn

import gradreg

CLOSED = [("smooth",), ("project", "smooth", "mask")]
OPEN = [("mask",), ("one pass",), ("project",), ("project", "one pass", "mask")]


def float16() -> bool:
    """Return whether this CPU's build of torch multiplies float16 under autocast."""
    try:
        with torch.autocast("cpu", torch.float16):
            nn.Linear(2, 2)(torch.ones(1, 2))
    except RuntimeError:
        return False
    return True


DTYPES = [
    torch.bfloat16,
    pytest.param(
        torch.float16,
        marks=pytest.mark.skipif(not float16(), reason="no float16 autocast on this CPU"),
    ),
]


def loss_of(lab, model, opt, x, y, dtype=None):
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        out = model(x)
        if lab.has(opt, gradreg.PostVerificationMask):
            out, _ = opt.verify(out, evidence=(out - y).detach().abs())
        return (out - y).square().mean()


def loop(lab, model, opt, steps, *, dtype=None, scaler=None, clip=None, parts=1):
    """The loop without a closure, as in torch's AMP tutorial; a list of what each step did."""
    for step in steps:
        if step == 1 and lab.has(opt, gradreg.NullSpaceProjector):
            with opt.observe_noise(), torch.autocast("cpu", dtype, enabled=dtype is not None):
                model(lab.batch(500)[0])
        x, y = lab.batch(step)
        opt.zero_grad()
        for xs, ys in zip(x.chunk(parts), y.chunk(parts), strict=True):
            scaler.scale(loss_of(lab, model, opt, xs, ys, dtype) / parts).backward()
        if clip is not None:
            scaler.unscale_(opt)
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        scaler.step(opt)
        scaler.update()


def closed_loop(lab, model, opt, steps, *, dtype=None, scaler=None, clip=None, parts=1):
    """The same with a closure over all micro-batches; clips inside, where gradients are scaled."""
    for step in steps:
        if step == 1 and lab.has(opt, gradreg.NullSpaceProjector):
            with opt.observe_noise(), torch.autocast("cpu", dtype, enabled=dtype is not None):
                model(lab.batch(500)[0])
        x, y = lab.batch(step)

        def closure(x=x, y=y):
            opt.zero_grad()
            total = 0.0
            for xs, ys in zip(x.chunk(parts), y.chunk(parts), strict=True):
                loss = loss_of(lab, model, opt, xs, ys, dtype) / parts
                scaler.scale(loss).backward()
                total += loss.detach()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip * scaler.get_scale())
            return total

        opt.step(closure, scaler=scaler)
        scaler.update()


def run(lab, levels, loop_of, scale, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 2))
    model = nn.Sequential(nn.Flatten(), model)
    opt = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for level in levels:
        opt = lab.WRAPPERS[level](opt, model)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale is not None)
    loop_of(lab, model, opt, range(5), scaler=scaler, **options)
    return [p.detach().clone() for p in model.parameters()], opt


CASES = [*[(levels, loop) for levels in OPEN], *[(levels, closed_loop) for levels in CLOSED + OPEN]]


@pytest.mark.parametrize(("levels", "loop_of"), CASES)
@pytest.mark.parametrize("clip", [None, 0.02])
@pytest.mark.parametrize("parts", [1, 3])
def test_scaling_by_a_power_of_two_changes_nothing(lab, levels, loop_of, clip, parts):
    plain, _ = run(lab, levels, loop_of, 1.0, clip=clip, parts=parts)
    scaled, _ = run(lab, levels, loop_of, 2.0**10, clip=clip, parts=parts)
    for a, b in zip(plain, scaled, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    if clip is not None:
        free, _ = run(lab, levels, loop_of, 1.0, parts=parts)
        assert not lab.same(plain, free)


@pytest.mark.parametrize(("levels", "loop_of"), CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_autocast_stays_near_full_precision(lab, levels, loop_of, dtype):
    full, _ = run(lab, levels, loop_of, 1.0)
    mixed, opt = run(lab, levels, loop_of, 2.0**10, dtype=dtype)
    distance = torch.cat([(a - b).flatten() for a, b in zip(full, mixed, strict=True)]).norm()
    start, _ = run(lab, levels, lambda *_, **__: None, 1.0)
    moved = torch.cat([(a - b).flatten() for a, b in zip(full, start, strict=True)]).norm()
    assert distance < 0.05 * moved
    assert all(p.dtype == torch.float32 for p in opt.parameters)


@pytest.mark.parametrize(("levels", "loop_of"), [case for case in CASES if "project" in case[0]])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_projection_is_exact_under_autocast(lab, levels, loop_of, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 2))
    opt = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for level in levels:
        opt = lab.WRAPPERS[level](opt, model)
    noise = torch.randn(2, 2, 8)
    with torch.autocast("cpu", dtype), opt.observe_noise():
        model(noise)
    with opt.unperturbed():
        before = model[1].weight @ noise.flatten(1).T
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    loop_of(lab, model, opt, [0, 2, 3], dtype=dtype, scaler=scaler)
    with opt.unperturbed():
        torch.testing.assert_close(model[1].weight @ noise.flatten(1).T, before, atol=1e-5, rtol=0)


@pytest.mark.parametrize("levels", OPEN)
@pytest.mark.parametrize("clip", [None, 0.1])
def test_an_overflow_skips_the_step_and_only_that(lab, levels, clip):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    opt = torch.optim.AdamW(model.parameters(), lr=0.1)
    for level in levels:
        opt = lab.WRAPPERS[level](opt, model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4, growth_interval=1000)
    loop(lab, model, opt, [0], scaler=scaler, clip=clip)
    with opt.unperturbed():
        before = lab.state_of(model, opt)
    opt.zero_grad()
    scaler.scale(model(lab.batch(1)[0]).sum() * torch.inf).backward()
    if clip is not None:
        scaler.unscale_(opt)
    scaler.step(opt)
    scaler.update()
    with opt.unperturbed():
        assert lab.same(before, lab.state_of(model, opt))
    assert scaler.get_scale() == 2.0**3
    loop(lab, model, opt, [2, 3], scaler=scaler, clip=clip)


@pytest.mark.parametrize("levels", CLOSED)
def test_the_scalers_own_step_names_the_way_out(lab, levels):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    for level in levels:
        opt = lab.WRAPPERS[level](opt, model)
    scaler = torch.amp.GradScaler("cpu")
    with pytest.raises(RuntimeError, match=r"opt\.step\(closure, scaler=scaler\).*OnePassSmoother"):
        loop(lab, model, opt, [0], scaler=scaler)


@pytest.mark.parametrize("levels", CLOSED)
def test_accumulating_outside_the_closure_is_recognised(lab, levels):
    """A trainer's way: earlier micro-batches before the step, the last one in the closure."""
    model = lab.make_net()
    opt = lab.stack(model, "AdamW", levels)
    before = [p.detach().clone() for p in model.parameters()]
    x, y = lab.batch(0)
    loss_of(lab, model, opt, x[:3], y[:3]).backward()

    def last():
        loss = loss_of(lab, model, opt, x[3:], y[3:])
        loss.backward()
        return loss

    with pytest.raises(RuntimeError, match=r"adds to the gradients.*gradreg\.OnePassSmoother"):
        opt.step(last)
    assert lab.same(before, list(model.parameters()))
    with pytest.raises(RuntimeError, match=r"leaves the gradients.*gradreg\.OnePassSmoother"):
        opt.step(lambda: None)
    assert lab.same(before, list(model.parameters()))


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("zero", ["optimizer", "model", "by hand"])
def test_every_way_to_zero_gradients_is_accepted(lab, set_to_none, zero):
    models = []
    for usual in (True, False):
        model = lab.make_net()
        opt = lab.stack(model, "AdamW", ("smooth",))
        for step in range(4):
            x, y = lab.batch(step)

            def closure(model=model, opt=opt, usual=usual, x=x, y=y):
                if usual:
                    opt.zero_grad()
                elif zero == "optimizer":
                    opt.zero_grad(set_to_none)
                elif zero == "model":
                    model.zero_grad(set_to_none)
                else:
                    for p in model.parameters():
                        if set_to_none:
                            p.grad = None
                        elif p.grad is not None:
                            p.grad.zero_()
                for xs, ys in zip(x.chunk(2), y.chunk(2), strict=True):
                    (loss_of(lab, model, opt, xs, ys) / 2).backward()

            opt.step(closure)
        models.append(model)
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(a, b)
