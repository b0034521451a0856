"""Two ranks under FSDP2, on CPU, go where one process with the joined batch goes."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parent
spec = importlib.util.spec_from_file_location("ddp_program", FOLDER / "ddp_program.py")
program = importlib.util.module_from_spec(spec)
spec.loader.exec_module(program)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """Return the results that each of the two ranks saved."""
    folder = tmp_path_factory.mktemp("fsdp")
    meeting = (folder / "meeting").as_uri()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(FOLDER / "fsdp_program.py")]
    processes = [
        subprocess.Popen([*command, str(rank), meeting, str(folder)], env=environment)
        for rank in range(2)
    ]
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", program.STACKS)
def test_shards_go_where_one_process_with_the_joined_batch_goes(ranks, name):
    stack = program.STACKS[name]
    module = program.make_model()
    opt = program.make_optimizer(module, stack)
    alone = list(program.train(module, module, opt, stack, None))
    for rank in ranks:
        for step, weights in enumerate(rank[name]):
            for a, b in zip(weights, alone[step], strict=True):
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", program.STACKS)
def test_a_distributed_checkpoint_of_shards_goes_on_bit_exactly(ranks, name):
    for rank in ranks:
        through, resumed = rank[name, "resumed"]
        assert all(torch.equal(a, b) for a, b in zip(through, resumed, strict=True))
        assert not torch.equal(through[0], rank[name][-1][0])
