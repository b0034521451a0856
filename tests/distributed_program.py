"""Trains in float64 under `torchrun`, or alone; each rank saves weights and log."""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from rppg.data.specs import open_datasets
from rppg.models.fcus import FcusNet
from rppg.train import distributed
from rppg.train.clips import ClipSet, cut_clips
from rppg.train.config import TrainConfig
from rppg.train.fcus import fit_fcus

CONFIG = TrainConfig(
    data=("synthetic:lab",), subjects=2, clip_s=5.0, batch_size=6, epochs=2, seed=3
)  # 14 clips: batches of 6, one of 2; fewer clips than three ranks
STACKS = {
    "all": CONFIG.model_copy(update={"tether": 0.1, "averaged": 0.5}),
    "mask": CONFIG.model_copy(update={"smooth": None, "project": None}),
    "none": CONFIG.model_copy(update={"mask": None, "smooth": None, "project": None}),
}


def clip_set(config: TrainConfig, held_bytes: int = 2**40) -> ClipSet:
    recordings = open_datasets(config.data, split="train", subjects=config.subjects)
    crops = [recording.load_crops() for recording in recordings]
    return cut_clips(
        crops, config.model, clip_s=config.clip_s, stride_s=config.stride_s, held_bytes=held_bytes
    )


def train(config: TrainConfig, clips: ClipSet) -> tuple[FcusNet, list[dict[str, float]]]:
    torch.manual_seed(config.seed)
    net = FcusNet(config.model).double()
    return net, fit_fcus(net, clips, config)


if __name__ == "__main__":
    with distributed.process_group(timeout_s=60):
        clips = clip_set(CONFIG, held_bytes=0)
        for name, config in STACKS.items():
            net, log = train(config, clips)
            out = Path(sys.argv[1]) / f"{name}-{distributed.world_size()}-{distributed.rank()}"
            save_file(dict(net.state_dict()), out.with_suffix(".safetensors"))
            out.with_suffix(".json").write_text(json.dumps(log))
