"""One of two ranks: trains each stack of wrappers under DDP and saves where that led.

Run as `python ddp_program.py RANK MEETING RESULTS` by `test_ddp.py`.
"""

import os
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import gradreg

STACKS = {
    "mask": {"mask": True},
    "two passes": {"smooth": {"rho": 0.05}},
    "one pass": {"smooth": {"rho": 0.1, "one_pass": True}},
    "projector": {"project": 0.9},
    "two passes, all": {"mask": True, "smooth": {"rho": 0.05}, "project": 0.9},
    "one pass, all": {"mask": True, "smooth": {"rho": 0.1, "one_pass": True}, "project": 0.9},
}


KINDS = {
    "plain": {},
    "bucket view": {"gradient_as_bucket_view": True},
    "static graph": {"static_graph": True},
    "accumulated": {},
}


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)).double()


def make_optimizer(model, stack):
    opt = torch.optim.AdamW(model.parameters(), lr=0.01)
    stack = dict(stack)
    if stack.get("mask") is True:
        stack["mask"] = gradreg.WeakAmplitude(0.0, 1.0)
    return gradreg.regularize(opt, model, **stack)


def data(step):
    """A batch with evidence and noise; rank 1 rejects all of step 2, both all of step 3."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(8, 6, generator=generator, dtype=torch.float64)
    evidence = torch.rand(8, 1, generator=generator, dtype=torch.float64) * 1.5
    if step == 2:
        evidence[:4], evidence[4:] = 0.5, 9.0
    if step == 3:
        evidence[:] = 9.0
    noise = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    return x, torch.sin(x[:, :2]), evidence, noise * torch.tensor([3.0, 2, 1, 0, 0, 0])


def train(model, module, opt, stack, rank, *, steps=6, parts=1):
    """Train `model` (DDP or bare) on this rank's half of each batch, or on all for rank None."""
    for step in range(steps):
        x, y, evidence, noise = data(step)
        if rank is not None:
            half = slice(4 * rank, 4 * rank + 4)
            x, y, evidence, noise = x[half], y[half], evidence[half], noise[2 * rank :][:2]
        if "project" in stack and step in (0, 4):
            with opt.observe_noise():
                module(noise)
        closure = make_closure(model, opt, stack, x, y, evidence, parts)
        if needs_closure(stack):
            opt.step(closure)
        else:
            closure()
            opt.step()
        yield [p.detach().clone() for p in module.parameters()]


def needs_closure(stack):
    return "smooth" in stack and not stack["smooth"].get("one_pass")


def make_closure(model, opt, stack, x, y, evidence, parts=1):
    def closure():
        opt.zero_grad()
        chunks = list(zip(x.chunk(parts), y.chunk(parts), evidence.chunk(parts), strict=True))
        for i, (xs, ys, es) in enumerate(chunks, 1):
            ddp = isinstance(model, DistributedDataParallel)
            with model.no_sync() if ddp and i < len(chunks) else nullcontext():
                out = model(xs)  # inside: the forward pass decides whether ranks talk
                if "mask" in stack:
                    out, _ = opt.verify(out, evidence=es)
                loss = (out - ys).square().mean() / parts
                loss.backward()
        return loss

    return closure


def train_unevenly(model, opt, stack, rank):
    """Rank 1 runs out of data after three of five steps."""
    with model.join(divide_by_initial_world_size=False):
        for step in range(5 if rank == 0 else 3):
            half = slice(4 * rank, 4 * rank + 4)
            x, y, evidence, _ = (part[half] for part in data(step))
            closure = make_closure(model, opt, stack, x, y, evidence)
            opt.step(closure)
    return [p.detach().clone() for p in model.module.parameters()]


def main() -> None:
    rank = int(sys.argv[1])
    dist.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=2)
    results = {}
    for name, stack in STACKS.items():
        for kind, options in KINDS.items():
            module = make_model()
            opt = make_optimizer(module, stack)
            model = DistributedDataParallel(module, **options)
            parts = 2 if kind == "accumulated" else 1
            weights = list(train(model, module, opt, stack, rank, parts=parts))
            stats = opt.stats if "mask" in stack else None
            results[name, kind] = {
                "weights": weights,
                "mask": stats and (stats.steps, stats.skipped, stats.kept),
            }
            if "project" in stack:
                results[name, kind]["bases"] = [
                    opt_of(opt, gradreg.NullSpaceProjector).basis(module[i].weight) for i in (0, 2)
                ]
            dist.barrier()
        if "mask" not in stack:
            module = make_model()
            model = DistributedDataParallel(module)
            opt = make_optimizer(module, stack)
            results[name, "uneven"] = {"weights": [train_unevenly(model, opt, stack, rank)]}
            dist.barrier()
    torch.save(results, Path(sys.argv[3]) / f"{rank}.pt")
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)  # gloo's threads may abort an ordinary exit


def opt_of(opt, kind):
    while not isinstance(opt, kind):
        opt = opt.inner
    return opt


if __name__ == "__main__":
    main()
