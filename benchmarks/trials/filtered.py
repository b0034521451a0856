"""Trials of classical methods whose wave is filtered by verification, as FCUS's wave is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.trials.evaluation import predict_windows
from benchmarks.trials.trial_settings import FILTERED_SUFFIX, Trial
from rppg.estimators.fcus import FcusEstimator, untrained
from rppg.estimators.find import find_estimator
from rppg.estimators.overlapping_clips import clip_batches, clip_starts, overlap_add
from rppg.evaluation import Estimator
from rppg.models.patches import pool_patches
from rppg.verification import apply_gain, average_evidence, join_evidence, judge


@dataclass(frozen=True)
class Filtered:
    """An estimator whose wave is filtered by its evidence.

    Attributes:
        method: the estimator of the wave.
        reference: gives the traces of light and motion, and the waves of the face's regions.
    """

    method: Estimator
    reference: FcusEstimator

    def __call__(self, frames: NDArray[np.float32], fps: float) -> NDArray[np.float64]:
        """Return the BVP `(T,)` of frames `(T, S, S, C)`, 0–255."""
        net = self.reference.net
        wave = torch.from_numpy(np.asarray(self.method(frames, fps), dtype=np.float32))
        patches = pool_patches(torch.from_numpy(frames).permute(0, 3, 1, 2)[None], net.config.grid)
        length = min(round(self.reference.clip_s * fps), len(wave))
        starts = clip_starts(len(wave), length)
        waves = torch.stack([wave[start : start + length] for start in starts])
        evidence = []
        with torch.inference_mode():
            for clips, part in zip(
                clip_batches(patches[0], starts, length, self.reference.batch),
                waves.split(self.reference.batch),
                strict=True,
            ):
                output = net(clips)
                evidence.append(
                    judge(
                        part,
                        output.references,
                        fps,
                        regions=output.regions,
                        attention=output.attention,
                    )
                )
            near = torch.from_numpy(np.abs(starts[:, None] - starts) <= length).to(waves)
            averaged = average_evidence(join_evidence(evidence), near)
            filtered = apply_gain(waves, averaged, fps).double().numpy()
        return overlap_add(filtered, starts, len(wave))


def run_filtered(trial: Trial) -> dict[str, Any]:
    """Evaluate a classical method with the filter."""
    method = find_estimator(trial.method.removesuffix(FILTERED_SUFFIX))
    estimator = Filtered(method, untrained())
    windows = predict_windows(trial, estimator, count=trial.test_subjects, grid=None)
    return {"points": [{"epoch": 0, "clips": 0, "train_s": 0.0, "targets": windows}]}
