"""`torch.compile`: a compiled model under each wrapper, and a compiled step."""

import shutil

import pytest
import torch
from torch import nn

import gradreg

LEVELS = [
    ("mask",),
    ("smooth",),
    ("one pass",),
    ("project",),
    ("project", "smooth", "mask"),
    ("project", "one pass", "mask"),
]
INDUCTOR = pytest.param(
    "inductor",
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler"),
    ],
)


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def train(lab, model, opt, run, steps):
    """Train through `run`, compiled or not; observe with the eager model."""
    for step in steps:
        if step == 1 and lab.has(opt, gradreg.NullSpaceProjector):
            with opt.observe_noise():
                model(lab.batch(500, next(model.parameters()).dtype)[0])
        x, y = lab.batch(step, next(model.parameters()).dtype)

        def closure(x=x, y=y):
            opt.zero_grad()
            out = run(x)
            if lab.has(opt, gradreg.PostVerificationMask):
                out, _ = opt.verify(out, evidence=(out - y).detach().abs())
            loss = (out - y).square().mean()
            loss.backward()
            return loss

        opt.step(closure)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("backend", ["eager", "aot_eager", INDUCTOR])
def test_a_compiled_model_trains_as_the_eager_one(lab, levels, backend):
    models = []
    for compiled in (True, False):
        model = lab.make_net(torch.float64)
        opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        run = torch.compile(model, backend=backend) if compiled else model
        for level in levels:
            opt = lab.WRAPPERS[level](opt, run)
        train(lab, model, opt, run, range(5))
        with opt.unperturbed():
            models.append([*model.parameters(), *model.buffers()])
    for a, b in zip(*models, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("levels", LEVELS)
def test_steps_do_not_make_it_compile_again(lab, levels):
    """In-place changes of the weights, perturbations among them, are no reason to recompile."""
    compiled = []

    def backend(graph, _):
        compiled.append(graph)
        return graph.forward

    model = lab.make_net()
    opt = torch.optim.SGD(model.parameters(), lr=0.05)
    run = torch.compile(model, backend=backend)
    for level in levels:
        opt = lab.WRAPPERS[level](opt, run)
    train(lab, model, opt, run, range(2))
    before = len(compiled)
    train(lab, model, opt, run, range(2, 6))
    assert len(compiled) == before


def test_observing_the_compiled_model_names_the_eager_one(lab):
    model = lab.make_net()
    run = torch.compile(model, backend="eager")
    opt = gradreg.NullSpaceProjector(torch.optim.SGD(model.parameters(), 0.1), run)
    with torch.no_grad():
        run(lab.batch(0)[0])
    with pytest.raises(RuntimeError, match=r"call the eager model"), opt.observe_noise():
        run(lab.batch(0)[0])


@pytest.mark.parametrize("levels", LEVELS)
def test_a_compiled_step_steps_as_the_eager_one(lab, levels):
    """`torch.compile(opt.step)` works, with graph breaks where Python decides."""
    models = []
    for compiled in (True, False):
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 2))
        torch.manual_seed(0)
        for p in model.parameters():
            nn.init.normal_(p, std=0.3)
        opt = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for level in levels:
            opt = lab.WRAPPERS[level](opt, model)
        step = torch.compile(opt.step, backend="eager") if compiled else opt.step
        for i in range(4):
            if i == 1 and "project" in levels:
                with opt.observe_noise():
                    model(lab.batch(500, next(model.parameters()).dtype)[0])
            x, y = lab.batch(i)

            def closure(x=x, y=y, model=model, opt=opt):
                opt.zero_grad()
                out = model(x)
                if "mask" in levels:
                    out, _ = opt.verify(out, evidence=(out - y).detach().abs())
                loss = (out - y).square().mean()
                loss.backward()
                return loss

            if "smooth" in levels:
                step(closure)
            else:
                closure()
                step()
        with opt.unperturbed():
            models.append([p.detach().clone() for p in model.parameters()])
    for a, b in zip(*models, strict=True):
        torch.testing.assert_close(a, b)
