"""One of two ranks: trains each stack of wrappers under FSDP2 and saves where that led.

Run as `python fsdp_program.py RANK MEETING FOLDER` by `test_fsdp.py`.
"""

import os
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.fsdp import fully_shard

sys.path.insert(0, str(Path(__file__).parent))
import ddp_program as ddp


def full(model):
    return [p.full_tensor().detach().clone() for p in model.parameters()]


def make(stack):
    model = ddp.make_model()
    for layer in (model[0], model[2], model):
        fully_shard(layer)
    return model, ddp.make_optimizer(model, stack)


def clean(model, opt):
    with opt.unperturbed():
        return full(model)


def main() -> None:
    rank = int(sys.argv[1])
    dist.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=2)
    folder = Path(sys.argv[3])
    results = {}
    for name, stack in ddp.STACKS.items():
        model, opt = make(stack)
        results[name] = [full(model) for _ in ddp.train(model, model, opt, stack, rank)]
        # Saved after these steps and loaded into others; both continue.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.save({"model": model, "opt": opt}, checkpoint_id=folder / name)
            other, resumed = make(stack)
            list(ddp.train(other, other, resumed, stack, rank, steps=2))  # state to load into
            dcp.load({"model": other, "opt": resumed}, checkpoint_id=folder / name)
        for pair in ((model, opt), (other, resumed)):
            list(ddp.train(pair[0], *pair, stack, rank, steps=2))
        results[name, "resumed"] = (clean(model, opt), clean(other, resumed))
        dist.barrier()
    torch.save(results, folder / f"{rank}.pt")
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)  # gloo's threads may abort an ordinary exit


if __name__ == "__main__":
    main()
