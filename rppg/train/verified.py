"""The check of recordings before training, by a reference estimator without a network of ours.

Its score is the evidence of the peers' mask: a number per recording, in about 0..1, higher where
there is more of a pulse that neither the background nor the motion explains.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from rppg.errors import InputError
from rppg.types import FaceCrops

Score = Callable[[FaceCrops], float]
Wave = Callable[[FaceCrops], NDArray[np.float64]]

# PLUG IN: `from rppg.verification import recording_score, reference_wave`, in place of these two.


def recording_score(crops: FaceCrops) -> float:
    """Return the score of a recording; NaN if it can't be judged."""
    raise InputError(
        "the mask of a peer, and select = reference, need the score of each recording, which this "
        "version does not compute; leave them out (--no-mask), or give train_peer(score=...)"
    )


def reference_wave(crops: FaceCrops) -> NDArray[np.float64]:
    """Return the reference's wave `(T,)`, on the recording's grid at the protocol's rate."""
    raise InputError(
        "select = reference needs the wave of a reference estimator, which this version does not "
        "compute; choose select = own, or give train_peer(reference=...)"
    )


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
