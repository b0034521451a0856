"""`torch.distributed.checkpoint`: save, load into a fresh process, resume bit-exactly."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

FOLDER = Path(__file__).parent
LEVELS = [
    ("mask",),
    ("smooth",),
    ("one pass",),
    ("project",),
    ("project", "smooth", "mask"),
    ("project", "one pass", "mask"),
]


MODES = ["clean", "as trained"]


@pytest.fixture(scope="module")
def outcomes(lab, tmp_path_factory):
    """For each case, where training went on to here and in the fresh process."""
    folder = tmp_path_factory.mktemp("checkpoints")
    through = {}
    for levels in LEVELS:
        for mode in MODES:
            model = lab.make_net()
            opt = lab.stack(model, "AdamW", levels)
            lab.train(model, opt, range(4))
            if mode == "clean":
                opt.eval()
            case = ",".join([*levels, mode])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that this is one process
                dcp.save({"model": model, "opt": opt}, checkpoint_id=folder / case, no_dist=True)
            opt.train()
            lab.train(model, opt, range(4, 8))
            through[case] = lab.state_of(model, opt)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, FOLDER / "checkpoint_program.py", FOLDER.parent / "conftest.py"]
    subprocess.run([*command, folder], env=environment, check=True, timeout=600)
    return through, torch.load(folder / "resumed.pt")


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("mode", MODES)
def test_a_fresh_process_goes_on_bit_exactly(lab, outcomes, levels, mode):
    through, resumed = outcomes
    case = ",".join([*levels, mode])
    assert lab.same(through[case], resumed[case])


def test_torchs_helper_drops_what_the_levels_know(lab):
    """Why the wrapper is an entry of the checkpoint itself: this is what the documents warn of."""
    model = lab.make_net()
    opt = lab.stack(model, "AdamW", ("project", "smooth", "mask"))
    lab.train(model, opt, range(2))
    assert "gradreg" in opt.state_dict()
    assert get_optimizer_state_dict(model, opt).keys() == {"state", "param_groups"}
