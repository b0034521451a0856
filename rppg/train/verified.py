"""The check of recordings before training, by the reference estimator.

Its score is a number per recording, in about 0..1, higher where there is more of a pulse that
neither the background nor the motion explains. It is the evidence of the peers' mask, and names
the recordings in which no pulse is found.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.estimators.pulse_score import (
    PULSE_SCORE,
    describe_no_pulse,
    recording_score,
    reference_wave,
)
from rppg.train import distributed
from rppg.train.recordings import Skipped
from rppg.types import FaceCrops, Recording

logger = logging.getLogger(__name__)

Score = Callable[[FaceCrops], float]
Wave = Callable[[FaceCrops], NDArray[np.float64]]


def score_recordings(recordings: Sequence[FaceCrops], score: Score | None = None) -> list[float]:
    """Return the score of each recording, the same on every rank.

    Args:
        recordings: their crops.
        score: `recording_score` if None.
    """
    function = score or recording_score
    return distributed.compute_together(
        len(recordings), lambda index: float(function(recordings[index]))
    )


def check_pulse(
    recordings: Sequence[Recording], scores: Sequence[float], *, require: bool
) -> Skipped:
    """Warn of each recording in which no pulse is found; return those to leave out.

    Args:
        recordings: the recordings that can be read.
        scores: of each.
        require: leave out the recordings without a pulse, those that can't be judged (a score of
            NaN) included. Otherwise none is left out, and those are not named.

    Raises:
        InputError: all would be left out.
    """
    found = {
        (recording.dataset, recording.name): f"{recording.name}: {reason}"
        for recording, score in zip(recordings, scores, strict=True)
        if (require or not math.isnan(score)) and (reason := describe_no_pulse(score))
    }
    for line in found.values():
        logger.warning("left out: %s" if require else "%s", line)
    if not found:
        return {}
    of = f"{len(found)} of {len(recordings)} recordings"
    if not require:
        logger.warning("no pulse found in %s; require_pulse (--require-pulse) leaves them out", of)
        return {}
    logger.warning("%s are left out, for no pulse is found in them", of)
    if len(found) == len(recordings):
        raise InputError(_all_left_out(recordings, scores))
    return found


def _all_left_out(recordings: Sequence[Recording], scores: Sequence[float]) -> str:
    judged = [(s, r.name) for s, r in zip(scores, recordings, strict=True) if not math.isnan(s)]
    best = "none can be judged"
    if judged:
        score, name = max(judged)
        best = f"the highest score is {score:.4f} ({name}), {PULSE_SCORE:g} is needed"
    return (
        f"require_pulse: no pulse is found in any of the {len(recordings)} recordings; {best}; "
        "give other recordings, or leave require_pulse (--require-pulse) out"
    )


def reference_waves(
    recordings: Mapping[int, FaceCrops], wave: Wave | None = None
) -> dict[int, NDArray[np.float64]]:
    """Return the reference's wave of each recording by its index.

    Args:
        recordings: by index.
        wave: `reference_wave` if None.
    """
    wave = wave or reference_wave
    return {index: np.asarray(wave(crops), float) for index, crops in recordings.items()}
