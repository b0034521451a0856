"""Passes that leave no trace in any buffer of any network that they run."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import gradreg


@pytest.fixture(autouse=True)
def _nothing_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Queue(nn.Module):
    """A layer with buffers of other names, written to, replaced, resized and added."""

    def __init__(self):
        super().__init__()
        self.register_buffer("items", torch.zeros(3, 4))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self.register_buffer("histogram", torch.zeros(0))
        self.register_buffer("average", torch.zeros(4))
        self.register_buffer("missing", None)

    def forward(self, x):
        self.items[self.pointer] = x.detach().mean(0)
        self.pointer = (self.pointer + 1) % 3
        self.histogram.resize_(5).fill_(1.0)
        self.average.data.mul_(0.9).add_(x.detach().mean(0))
        self.missing = x.detach().sum()
        if not hasattr(self, "late"):
            self.register_buffer("late", torch.ones(1))
        return x


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 4),
        Queue(),
        nn.BatchNorm1d(4),
        parametrizations.spectral_norm(nn.Linear(4, 4)),
        nn.utils.spectral_norm(nn.Linear(4, 4)),
        nn.Linear(4, 2),
    )


def buffers_of(model):
    return {name: copy.deepcopy(buffer) for name, buffer in model.named_buffers()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", ["observe_noise", "observe_signal"])
def test_observing_leaves_no_trace(kind):
    model = network()
    opt = gradreg.NullSpaceProjector(
        torch.optim.SGD(model.parameters(), lr=0.1), model, include=["0", "5"]
    )
    tensors = dict(model.named_buffers())
    before = buffers_of(model)
    with getattr(opt, kind)():
        model(torch.randn(8, 4))
        assert not same(before, buffers_of(model))
    assert same(before, buffers_of(model))
    assert model[1].missing is None
    assert all(buffer is tensors[name] for name, buffer in model.named_buffers())


def closure_of(opt, *models):
    x = torch.randn(8, 4)

    def closure():
        opt.zero_grad()
        loss = sum((model(x) ** 2).mean() for model in models)
        loss.backward()
        return loss

    return closure


def test_a_second_pass_changes_no_buffer_a_second_time():
    models = []
    for rho in (0.0, 0.5):
        model = network()
        opt = gradreg.regularize(torch.optim.SGD(model.parameters(), lr=0.0), model, smooth=rho)
        torch.manual_seed(1)
        opt.step(closure_of(opt, model))
        models.append(buffers_of(model))
    assert same(*models)


@pytest.mark.parametrize("known", [True, False])
def test_the_statistics_of_a_second_network_move_once_a_step(known):
    """A mean teacher, a target, a critic: in train mode, and not the optimizer's."""
    student = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    teacher = copy.deepcopy(student)
    opt = torch.optim.SGD(student.parameters(), lr=0.1)
    if known:
        opt = gradreg.regularize(opt, student, smooth=0.05)
    else:
        opt = gradreg.PerturbationSmoother(opt, 0.05)
    for steps in (1, 2):
        opt.step(closure_of(opt, student, teacher))
        assert student[1].num_batches_tracked == teacher[1].num_batches_tracked == steps


@pytest.mark.parametrize("listed", [True, False])
def test_beside_a_compiled_network_a_second_one_is_listed(listed):
    """Hooks would have the first compiled again, so none are registered."""
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph.forward

    student = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    teacher = copy.deepcopy(student)
    known = nn.ModuleList([student, teacher]) if listed else student
    opt = gradreg.regularize(torch.optim.SGD(student.parameters(), lr=0.1), known, smooth=0.05)
    compiled = torch.compile(student, backend=backend)
    for steps in (1, 2):
        opt.step(closure_of(opt, compiled, teacher))
        assert student[1].num_batches_tracked == steps
        assert teacher[1].num_batches_tracked == steps or not listed
    assert len(graphs) == 1


def test_buffers_passed_to_functional_call_do_not_stay_in_the_model():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    own = dict(model.named_buffers())
    other = buffers_of(model)
    opt = gradreg.PerturbationSmoother(torch.optim.SGD(model.parameters(), lr=0.1), 0.05)

    def closure():
        opt.zero_grad()
        torch.func.functional_call(model, other, torch.ones(3, 4)).sum().backward()

    opt.step(closure)
    assert all(buffer is own[name] for name, buffer in model.named_buffers())
    assert other["1.num_batches_tracked"] == 1
    assert model[1].num_batches_tracked == 0


def test_a_graph_kept_over_a_pass_stays_valid():
    """Putting back a buffer that nothing changed is no change."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 1)
            self.register_buffer("scale", torch.tensor(2.0))

        def forward(self, x):
            return self.linear(x) * self.scale

    model = Scaled()
    opt = gradreg.NullSpaceProjector(torch.optim.SGD(model.parameters(), lr=0.1), model)
    loss = model(torch.randn(3, 4)).sum()
    with opt.observe_noise():
        model(torch.randn(3, 4))
    loss.backward()
