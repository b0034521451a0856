"""The check of recordings before training, by the reference estimator.

Its score is the evidence of the peers' mask: a number per recording, in about 0..1, higher where
there is more of a pulse that neither the background nor the motion explains.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from rppg.estimators.pulse_score import recording_score, reference_wave
from rppg.types import FaceCrops

Score = Callable[[FaceCrops], float]
Wave = Callable[[FaceCrops], NDArray[np.float64]]


def score_recordings(
    recordings: Mapping[int, FaceCrops], score: Score | None = None
) -> dict[int, float]:
    """Return the score of each recording by its index.

    Args:
        recordings: by index.
        score: `recording_score` if None.
    """
    score = score or recording_score
    return {index: float(score(crops)) for index, crops in recordings.items()}


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
