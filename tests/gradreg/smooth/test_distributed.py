"""Two processes: where the ascent goes, and that both make the same step."""

import subprocess
import sys

import pytest

PREAMBLE = """
import os, sys, torch, torch.distributed as dist
import gradreg
from torch import nn

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=2)

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()

def batches():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(8, 3, generator=generator).double() for _ in range(5)]

def train(model, opt, part=None):
    for x in batches():
        x = x if part is None else x[4 * part : 4 * part + 4]
        def closure():
            opt.zero_grad()
            loss = (model(x) - x[:, :2]).square().mean()
            loss.backward()
            return loss
        opt.step(closure)
    if isinstance(opt, gradreg.OptimizerWrapper):
        opt.eval()
    return [whole(p) for p in model.parameters()]

def whole(p):
    return p.full_tensor() if hasattr(p, "full_tensor") else p.detach().clone()

def check(ours, expected):
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)

CASES = {
    "SAM": lambda opt: gradreg.PerturbationSmoother(opt, 0.3),
    "ASAM": lambda opt: gradreg.PerturbationSmoother(opt, 0.3, gradreg.ASAM()),
    "Friendly": lambda opt: gradreg.PerturbationSmoother(opt, 0.3, gradreg.Friendly()),
    "LookSAM": lambda opt: gradreg.PerturbationSmoother(opt, 0.3, every=2),
    "one pass": lambda opt: gradreg.OnePassSmoother(opt, 0.3),
}
bare = lambda model: torch.optim.AdamW(model.parameters(), lr=0.05)
"""

AVERAGED = """
from torch.nn.parallel import DistributedDataParallel
for view in (False, True):
    for wrap in CASES.values():
        model, single = net(), net()
        parallel = DistributedDataParallel(model, gradient_as_bucket_view=view)
        check(train(parallel, wrap(bare(model)), rank), train(single, wrap(bare(single))))
"""

LOCAL = """
from torch.nn.parallel import DistributedDataParallel
model, single = net(), net()
parallel = DistributedDataParallel(model)
opt = gradreg.PerturbationSmoother(bare(model), 0.3, ascent="local", model=parallel)
ours = train(parallel, opt, rank)

base, sam = bare(single), gradreg.SAM()  # by hand, in one process
params = list(single.parameters())

def gradient(x):
    return torch.autograd.grad((single(x) - x[:, :2]).square().mean(), params)

for x in batches():
    clean, total = [p.detach().clone() for p in params], []
    for part in x.chunk(2):
        offsets = next(sam.offsets(params, gradient(part), [0.3] * 4))
        with torch.no_grad():
            torch._foreach_add_(params, offsets)
        total.append(gradient(part))
        with torch.no_grad():
            torch._foreach_copy_(params, clean)
    for p, *parts in zip(params, *total):
        p.grad = sum(parts) / 2
    base.step()
check(ours, [p.detach() for p in params])

# Where nothing turns out to move, there's a pass with synchronisation all the same.
model = net()
parallel = DistributedDataParallel(model)
groups = [
    {"params": model.parameters(), "perturbation_rho": 0.0},
    {"params": [nn.Parameter(torch.zeros(1))]},
]
opt = torch.optim.SGD(groups, lr=0.1)
opt = gradreg.PerturbationSmoother(opt, 0.3, ascent="local", model=parallel)
ours, single = train(parallel, opt, rank), net()
check(ours, train(single, torch.optim.SGD(single.parameters(), lr=0.1)))
"""

SHARDED = """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
mesh = init_device_mesh("cpu", (2,))
for wrap in CASES.values():
    model, single = net(), net()
    fully_shard(model, mesh=mesh)
    before = [p.to_local().data_ptr() for p in model.parameters()]
    opt = wrap(bare(model))
    check(train(model, opt, rank), train(single, wrap(bare(single))))
    assert before == [p.to_local().data_ptr() for p in model.parameters()]
    opt.load_state_dict(opt.state_dict())
    opt.train()
    train(model, opt, rank)
"""

AGREED = """
dist.barrier()
print({name!r}, flush=True)
"""

END = """
os._exit(0)  # gloo's threads may abort an ordinary exit
"""

PARTS = {"averaged": AVERAGED, "local": LOCAL, "fsdp2": SHARDED}


@pytest.fixture(scope="module")
def agreed(tmp_path_factory):
    """For each rank, the parts in which both made the step of the joined batch; one after the
    other in the same two processes, whose start takes longest."""
    meeting = (tmp_path_factory.mktemp("ranks") / "meeting").as_uri()
    parts = [program + AGREED.format(name=name) for name, program in PARTS.items()]
    program = "".join([PREAMBLE, *parts, END])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(rank), meeting], stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    return [process.communicate(timeout=600)[0].split() for process in ranks]


@pytest.mark.parametrize("name", PARTS)
def test_two_ranks_make_the_step_of_the_joined_batch(agreed, name):
    assert all(name in parts for parts in agreed)
