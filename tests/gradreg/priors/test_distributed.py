"""Two processes: what priors learn, and what they decide, is the same on both."""

import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

import gradreg


def both(value):
    """Return the values of both ranks."""
    found = [torch.zeros_like(value), torch.zeros_like(value)]
    dist.all_gather(found, value.detach().contiguous())
    return found


def agree(*tensors):
    for tensor in tensors:
        one, other = both(tensor)
        assert torch.equal(one, other)


def priors_agree(rank):
    weak = gradreg.WeakAmplitude(0.0, 100.0, adaptive=0.5, momentum=0.5)
    direction = gradreg.Agreement()
    model = nn.parallel.DistributedDataParallel(nn.Linear(3, 4))
    opt = gradreg.PostVerificationMask(
        gradreg.PerturbationSmoother(torch.optim.SGD(model.parameters(), lr=0.1), 0.05), weak
    )
    generator = torch.Generator().manual_seed(rank)
    expected = None
    for step in range(4):
        n = 0 if rank and step == 2 else 5 + rank  # uneven, and once nothing at all
        x = torch.randn(n, 3, generator=generator)
        evidence = 10 * torch.rand(n, 1, generator=generator) * (1 + 4 * rank)
        if step == 3:
            evidence[0] = torch.nan

        def closure(x=x, evidence=evidence):
            opt.zero_grad()
            out, _ = opt.verify(model(x), evidence)
            out, keep = opt.verify(out, evidence=out, prior=direction)
            (torch.where(keep > 0, out, 0).square().sum() / 5).backward()

        opt.step(closure)
        before = expected
        now = evidence[evidence.isfinite()]
        now = now.quantile(0.5) if len(now) else torch.tensor(torch.nan)
        mine = before if now.isnan() else now if before is None else (before + now) / 2
        expected = torch.stack(both(mine)).mean()
        torch.testing.assert_close(weak.quantile, expected)
        agree(weak.quantile, direction.consensus, *model.parameters())
        assert not opt.last.skipped


def gradients_agree(rank):
    model = nn.parallel.DistributedDataParallel(nn.Linear(3, 4))
    prior = gradreg.NormOutlier(2.0, warmup=1) & gradreg.SignAgreement(momentum=0.5)
    opt = gradreg.PostVerificationMask(
        torch.optim.AdamW(model.parameters(), lr=0.1), gradient_prior=prior
    )
    generator = torch.Generator().manual_seed(rank)
    for scale in (1.0, 1.0, 50.0, 1.0):
        before = model.module.weight.detach().clone()
        opt.zero_grad()
        x = torch.randn(4, 3, generator=generator)
        (scale * model(x).square().mean()).backward()
        opt.step()
        assert opt.last.skipped == (scale == 50) == torch.equal(before, model.module.weight)
        norms, means = (part.state_dict() for part in prior.parts)
        agree(norms["norms"].nan_to_num(-1), means["0"], *model.parameters())


def ranks_that_judge_different_gradients_skip_together(rank):
    w = nn.Parameter(torch.zeros(2))
    opt = gradreg.PostVerificationMask(
        torch.optim.SGD([w], lr=0.1), gradient_prior=lambda gradients, _: [g > 0 for g in gradients]
    )
    w.grad = torch.full((2,), 1.0 - 2 * rank)
    opt.step()
    assert opt.last == gradreg.MaskStep(None, skipped=False, gradients=0.5)
    w.grad = torch.full((2,), -1.0) if rank else None
    opt.step()
    assert opt.last == gradreg.MaskStep(None, skipped=True, gradients=0.0)


def _rank(rank, programs, meeting):
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    torch.set_num_threads(1)
    for program in programs:
        torch.manual_seed(0)
        program(rank)
    dist.barrier()
    os._exit(0)  # gloo's threads may abort an ordinary exit


def test_priors_and_their_decisions_are_the_same_on_all_ranks(tmp_path):
    programs = [
        priors_agree,
        gradients_agree,
        ranks_that_judge_different_gradients_skip_together,
    ]
    mp.spawn(_rank, (programs, (tmp_path / "meeting").as_uri()), nprocs=2)
