"""Two processes: both make a step, or neither does."""

import subprocess
import sys

PROGRAM = """
import os, sys, torch, torch.distributed as dist
import gradreg

rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=sys.argv[2], rank=rank, world_size=2)
torch.manual_seed(0)
model = torch.nn.Linear(3, 1)
parallel = torch.nn.parallel.DistributedDataParallel(model)
opt = torch.optim.AdamW(model.parameters(), lr=0.1)
opt = gradreg.PostVerificationMask(opt, gradreg.WeakAmplitude(0.0, 1.0))

def step(evidence):
    opt.zero_grad()
    out, _ = opt.verify(parallel(torch.full((2, 3), rank + 1.0)), torch.full((2, 1), evidence))
    out.square().sum().backward()
    opt.step()
    return opt.last

assert step(9.0 if rank else 0.5) == gradreg.MaskStep(kept=0.5, skipped=False)
before = model.weight.detach().clone()
assert step(9.0) == gradreg.MaskStep(kept=0.0, skipped=True)
assert torch.equal(before, model.weight)
both = [torch.zeros_like(before), torch.zeros_like(before)]
dist.all_gather(both, before)
assert torch.equal(both[0], both[1])
dist.barrier()
sys.stdout.write("agreed")
sys.stdout.flush()
os._exit(0)  # gloo's threads may abort an ordinary exit
"""


def test_ranks_agree_on_skipping(tmp_path):
    meeting = (tmp_path / "meeting").as_uri()
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(rank), meeting], stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    assert [process.communicate(timeout=600)[0] for process in ranks] == ["agreed", "agreed"]
