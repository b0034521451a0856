"""Unsupervised training of FCUS-rPPG: `train(config)`, `python -m rppg.train`, `rppg train`."""

from typing import TYPE_CHECKING

from rppg.renamed import renamed
from rppg.train import recordings, resume
from rppg.train.config import TrainConfig
from rppg.train.run import TrainProgress, TrainResult, train

__all__ = ["TrainConfig", "TrainProgress", "TrainResult", "train"]

if not TYPE_CHECKING:
    __getattr__ = renamed(
        __name__,
        {
            "STATE_FILE": ("rppg.train.resume.STATE_FILE", resume.STATE_FILE),
            "is_finished": ("rppg.train.resume.is_finished", resume.is_finished),
            "readable_crops": ("rppg.train.recordings.readable_crops", recordings.readable_crops),
            "settings_of": ("rppg.train.resume.settings_of", resume.settings_of),
            "training_recordings": (
                "rppg.train.recordings.open_recordings",
                recordings.open_recordings,
            ),
        },
    )
