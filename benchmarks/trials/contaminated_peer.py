"""Trials of the peers on folders in which some recordings have no pulse.

The arms of `PEER_ARMS` differ in which recordings train the network. All are given the same number
of clips: a mask sees those that it rejects, too, while a filtered folder spends all of them on
recordings that it keeps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.trials.contaminated import Folder, read_folder, score_folder
from benchmarks.trials.evaluation import predict_windows
from benchmarks.trials.trial_settings import Trial, peer_config
from rppg.errors import InputError
from rppg.estimators.physnet import PeerEstimator
from rppg.estimators.pulse_score import PULSE_SCORE
from rppg.models.physnet import PhysNet
from rppg.peers.batches import peer_batch_sizes
from rppg.peers.clips import Span, find_spans
from rppg.peers.config import PeerConfig
from rppg.peers.selection import Target, criterion_by_reference
from rppg.peers.trainer import EpochState, fit_peer
from rppg.peers.verification import verify
from rppg.signals.resample import resample_frames, uniform_grid
from rppg.train.loop import LogRow

POINTS = 5
"""Evaluations in a trial, at even distances, each at the end of an epoch."""


@dataclass(frozen=True)
class AtNetworkRate:
    """An estimator for frames at any rate, of a network that runs at a rate of its own."""

    peer: PeerEstimator

    def __call__(self, frames: NDArray[np.float32], fps: float) -> NDArray[np.float64]:
        """Return the BVP `(T,)` of frames `(T, S, S, C)`, 0–255, at their rate."""
        times_s, rate = np.arange(len(frames)) / fps, self.peer.net.config.fps
        grid_s = uniform_grid(times_s, rate)
        wave = self.peer(resample_frames(frames, times_s, grid_s), rate)
        return np.interp(times_s, grid_s, wave)


def run_contaminated_peer(trial: Trial) -> dict[str, Any]:
    """Train as the trial's arm does, and evaluate at `POINTS` points along the way.

    The last tenth of the folder is held out, the same recordings in all arms and the dead among
    them included. Each point has both criteria on them: `criterion`, the method's own, and
    `criterion_by_reference`. A loss that stops being finite is a result, too: `failed` holds the
    reason.
    """
    folder, scores = _read(trial)
    kept = kept_recordings(trial)
    config = peer_config(trial)
    spans = find_spans(folder.crops, config.model, config.clip_frames)
    first = first_held_out(trial.subjects)
    held_out = [span for span in spans if span.recording >= first]
    training = [span for span in spans if span.recording < first]
    if config.mask is None:
        training = [span for span in training if span.recording in kept]
    targets = reference_targets(training, held_out, config, scores)
    clips_per_epoch = sum(peer_batch_sizes(training, config))
    epochs = max(1, round(trial.clips / clips_per_epoch))
    due = [max(1, round(epochs * n / POINTS)) for n in range(1, POINTS + 1)]
    evidence = map(float, folder.living) if trial.arm == "oracle" else scores
    points: dict[int, dict[str, Any]] = {}
    rows: list[LogRow] = []

    def on_epoch(net: PhysNet, state: EpochState) -> None:
        if state.epoch in due:
            points[state.epoch] = _point(trial, net, config, state, targets)

    result: dict[str, Any] = {
        "recordings": {
            "living": sum(folder.living[i] for i in kept),
            "dead": sum(not folder.living[i] for i in kept),
            "held_out": len({span.recording for span in held_out}),
            "references": len({target.clip[0].recording for target in targets}),
        },
        "clips_per_epoch": clips_per_epoch,
        "epochs": epochs,
        "config": config.model_dump(mode="json", exclude={"epochs"}),
    }
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        net = PhysNet(config.model)
        try:
            fit_peer(
                net,
                training,
                held_out,
                config.model_copy(update={"epochs": epochs}),
                rows.append,
                on_epoch,
                evidence=dict(enumerate(evidence)),
            )
        except InputError as error:
            result["failed"] = str(error)
    result["skipped_steps"] = sum(row.get("skipped", 0.0) > 0 for row in rows)
    result["points"] = [points[epoch] for epoch in due if epoch in points]
    return result


def kept_recordings(trial: Trial) -> tuple[int, ...]:
    """Return the recordings that train the network of the trial's arm, by index."""
    folder, scores = _read(trial)
    everyone = range(first_held_out(trial.subjects))
    if trial.arm == "plain":
        return tuple(everyone)
    if trial.arm == "oracle":
        return tuple(i for i in everyone if folder.living[i])
    return tuple(i for i in everyone if scores[i] >= PULSE_SCORE)


def first_held_out(recordings: int) -> int:
    """Return the index of the first recording that is held out, as `train_peer` chooses it."""
    return recordings - max(1, round(recordings / 10))


def reference_targets(
    training: Sequence[Span], held_out: Sequence[Span], config: PeerConfig, scores: Sequence[float]
) -> Sequence[Target]:
    """Return the clips of the criterion by the reference, the same whatever the arm.

    Raises:
        InputError: the reference finds no pulse in any of the held-out recordings.
    """
    by_reference = config.model_copy(update={"select": "reference", "mask": None})
    verified = verify(training, held_out, by_reference, scores)
    assert verified is not None
    return verified.targets


def _read(trial: Trial) -> tuple[Folder, tuple[float, ...]]:
    """Return the trial's folder, and its recordings' scores; both are kept for the next trial."""
    place = trial.source, trial.subjects, trial.dead
    return read_folder(*place), score_folder(*place)


def _point(
    trial: Trial, net: PhysNet, config: PeerConfig, state: EpochState, targets: Sequence[Target]
) -> dict[str, Any]:
    peer = PeerEstimator(net, config.clip_frames, precision=config.precision)
    count = min(trial.curve_subjects, trial.test_subjects)
    return {
        "epoch": state.epoch,
        "clips": state.clips_seen,
        "train_s": round(state.train_s, 3),
        "criterion": state.criterion,
        "criterion_by_reference": criterion_by_reference(net, targets, config),
        "targets": predict_windows(trial, AtNetworkRate(peer), count=count, grid=None),
    }
