"""Goes on from distributed checkpoints in a process of its own.

Run as `python checkpoint_program.py CONFTEST FOLDER` by `test_checkpoint.py`.
"""

import importlib.util
import sys
from pathlib import Path

import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save


def resume(lab, folder: Path) -> list[torch.Tensor]:
    """Load the checkpoint in a folder called after its levels, and train on."""
    *levels, _ = folder.name.split(",")
    model = lab.make_net(seed=1)
    opt = lab.stack(model, "AdamW", tuple(levels))
    # A fresh optimizer lacks most of the tensors that `dcp.load` would fill: read them all.
    dcp_to_torch_save(folder, folder / "whole.pt")
    whole = torch.load(folder / "whole.pt", weights_only=True)
    model.load_state_dict(whole["model"])
    opt.load_state_dict(whole["opt"])
    opt.train()
    lab.train(model, opt, range(4, 8))
    return lab.state_of(model, opt)


def main() -> None:
    spec = importlib.util.spec_from_file_location("lab", sys.argv[1])
    lab = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lab)
    folders = [path for path in Path(sys.argv[2]).iterdir() if path.is_dir()]
    results = {path.name: resume(lab, path) for path in folders}
    torch.save(results, Path(sys.argv[2]) / "resumed.pt")


if __name__ == "__main__":
    main()
