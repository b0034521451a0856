"""Two ranks under DDP go where one process with the joined batch goes."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = Path(__file__).parent / "ddp_program.py"
spec = importlib.util.spec_from_file_location("ddp_program", PROGRAM)
program = importlib.util.module_from_spec(spec)
spec.loader.exec_module(program)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Return the results that each of the two ranks saved."""
    folder = tmp_path_factory.mktemp("ddp")
    meeting = (folder / "meeting").as_uri()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(rank), meeting, str(folder)], env=environment
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("kind", program.KINDS)
@pytest.mark.parametrize("name", program.STACKS)
def test_two_ranks_go_where_one_process_with_the_joined_batch_goes(ranks, name, kind):
    stack = program.STACKS[name]
    module = program.make_model()
    opt = program.make_optimizer(module, stack)
    alone = list(program.train(module, module, opt, stack, None))
    for rank in ranks:
        for step, weights in enumerate(rank[name, kind]["weights"]):
            for a, b in zip(weights, alone[step], strict=True):
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
    if "mask" in stack:
        kept = (opt.stats.steps, opt.stats.skipped, opt.stats.kept)
        assert [rank[name, kind]["mask"] for rank in ranks] == [pytest.approx(kept)] * 2
        assert opt.stats.skipped == 1  # rank 1 rejects all of step 2, both ranks all of step 3


@pytest.mark.parametrize("kind", program.KINDS)
@pytest.mark.parametrize("name", program.STACKS)
def test_ranks_agree_to_the_bit(ranks, name, kind):
    for a, b in zip(*(rank[name, kind]["weights"] for rank in ranks), strict=True):
        assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("name", [n for n, stack in program.STACKS.items() if "project" in stack])
def test_ranks_that_see_different_noise_have_one_basis(ranks, name):
    first, second = (rank[name, "plain"]["bases"] for rank in ranks)
    assert all(basis.shape[-1] > 0 for basis in first)
    assert all(torch.equal(p, q) for p, q in zip(first, second, strict=True))


@pytest.mark.parametrize("name", [n for n, stack in program.STACKS.items() if "mask" not in stack])
def test_a_rank_that_runs_out_of_data_joins(ranks, name):
    stack = program.STACKS[name]
    module = program.make_model()
    opt = program.make_optimizer(module, stack)
    for step in range(5):
        x, y, evidence, _ = (part if step < 3 else part[:4] for part in program.data(step))
        opt.step(program.make_closure(module, opt, stack, x, y, evidence))
    for a, b in zip(ranks[0][name, "uneven"]["weights"][0], module.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
