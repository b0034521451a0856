"""Two processes observe their own halves of the data, and protect what one process would."""

import subprocess
import sys

import pytest

HEAD = """
import os, sys, torch, torch.distributed as dist
import gradreg
from torch import nn

rank = int(sys.argv[1])

def build(max_size, **options):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5), nn.Unflatten(1, (1, 5)),
        nn.ConvTranspose1d(1, 2, 3), nn.Conv1d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(20, 2),
    ).double()
    return model

def wrap(model, max_size):
    opt = torch.optim.AdamW(model.parameters(), lr=0.05)
    return gradreg.NullSpaceProjector(
        opt, model, max_size=max_size, sketch_size=6, include=["0", "2", "5"], energy=1 - 1e-9)

def data(i):
    g = torch.Generator().manual_seed(i)
    low = torch.randn(8, 2, generator=g, dtype=torch.float64)
    directions = torch.Generator().manual_seed(99)
    return low @ torch.randn(2, 6, generator=directions, dtype=torch.float64)

def done():
    dist.barrier()
    sys.stdout.write("agreed")
    sys.stdout.flush()
    os._exit(0)  # gloo's threads may abort an ordinary exit

def train(model, opt, part, average):
    protected = torch.randn(8, 2, generator=torch.Generator().manual_seed(7)).double()
    opt.protect(model[7].weight, part(protected), dim=0)
    for i in range(3):
        with opt.observe_noise(part(torch.tensor([1.0, 0, 1, 1, 0.5, 0, 1, 1]))):
            model(part(data(i)))
        opt.zero_grad()
        loss = model(part(torch.randn(8, 6, generator=torch.Generator().manual_seed(i)).double()))
        loss.square().mean().backward()
        average(model)
        opt.step()

def whole(x):
    return x

def half(x):
    return x[rank * 4 : rank * 4 + 4]

def mean_gradients(model):
    for p in model.parameters():
        dist.all_reduce(p.grad)
        p.grad /= 2
"""

REPLICATED = (
    HEAD
    + """
results = []
for size in (4096, 1):
    alone = build(size)
    train(alone, wrap(alone, size), whole, lambda model: None)
    results.append(alone)
dist.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=2)
for size, alone in zip((4096, 1), results):
    model = build(size)
    opt = wrap(model, size)
    train(model, opt, half, mean_gradients)
    tolerance = 1e-9 if size > 1 else 1e-5
    for a, b in zip(alone.parameters(), model.parameters()):
        assert (a - b).norm() < tolerance * a.norm(), (size, (a - b).norm() / a.norm())
    for weight in opt._weights.values():
        both = [torch.empty_like(weight.basis) for _ in range(2)]
        dist.all_gather(both, weight.basis)
        assert torch.equal(*both) and both[0].shape[-1] > 0
    if rank:  # one rank sees nothing: it learns what the other saw
        with opt.observe_noise():
            pass
    else:
        with opt.observe_noise():
            model(data(5))
    try:
        with opt.observe_noise():
            pass
        raise AssertionError
    except RuntimeError as error:
        assert "found none" in str(error)
done()
"""
)

SHARDED = (
    HEAD
    + """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

alone = build(4096)
opt = wrap(alone, 4096)
train(alone, opt, whole, lambda model: None)
opt.clear()
dist.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
model = build(4096)
fully_shard(model[0], mesh=mesh)
fully_shard(model, mesh=mesh)
opt = wrap(model, 4096)
train(model, opt, half, lambda model: None)
opt.clear()
for a, b in zip(alone.parameters(), model.parameters()):
    assert (a - b.full_tensor()).norm() < 1e-9 * a.norm()
done()
"""
)


TRANSFORMER = (
    HEAD
    + """
class Attend(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x, need_weights=False)[0]

class Conv1D(nn.Module):  # transformers'
    def __init__(self):
        super().__init__()
        self.nf, self.weight, self.bias = 3, nn.Parameter(torch.randn(6, 3)), None

    def forward(self, x):
        return x @ self.weight

def build():
    torch.manual_seed(0)
    attend = Attend(6, 2, batch_first=True)
    return nn.Sequential(nn.Embedding(9, 6), attend, Conv1D()).double()

def train(model, part, average):
    # Not Adam, which makes steps of the keys' bias, whose gradient is zero but for rounding.
    opt = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    opt = gradreg.NullSpaceProjector(opt, model, energy=0.9, bias=True)
    for i in range(3):
        generator = torch.Generator().manual_seed(i)
        tokens = torch.randint(4, (8, 5), generator=generator)
        with opt.observe_noise():
            model(part(tokens))
        opt.zero_grad()
        model(part(torch.randint(9, (8, 5), generator=generator))).square().mean().backward()
        average(model)
        opt.step()
    assert all(opt.basis(p).shape[-1] for p in opt.parameters if p.ndim > 1)
    assert opt.coverage().share == 1

alone = build()
train(alone, whole, lambda model: None)
dist.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=2)
model = build()
train(model, half, mean_gradients)
for a, b in zip(alone.parameters(), model.parameters()):
    assert (a - b).norm() < 1e-9 * (1 + a.norm()), (a, b)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
model = build()
for module in (*model, model):
    fully_shard(module, mesh=init_device_mesh("cpu", (2,)))
train(model, half, lambda model: None)
for a, b in zip(alone.parameters(), model.parameters()):
    assert (a - b.full_tensor()).norm() < 1e-9 * (1 + a.norm()), (a, b)
done()
"""
)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(REPLICATED, id="replicated"),
        pytest.param(SHARDED, id="fully_shard", marks=pytest.mark.slow),
        pytest.param(TRANSFORMER, id="attention and embeddings"),  # fully_shard is in it, too
    ],
)
def test_two_ranks_protect_what_one_process_would(tmp_path, program):
    meeting = (tmp_path / "meeting").as_uri()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(rank), meeting],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    results = [process.communicate(timeout=600) for process in processes]
    assert [out for out, _ in results] == ["agreed", "agreed"], results[0][1] + results[1][1]
