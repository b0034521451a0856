"""Unsupervised training of FCUS-rPPG: `train(config)`, `python -m rppg.train`, `rppg train`."""

from rppg.train.config import TrainConfig
from rppg.train.run import TrainProgress, TrainResult, train

__all__ = ["TrainConfig", "TrainProgress", "TrainResult", "train"]
