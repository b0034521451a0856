"""The check of recordings before training, by a reference estimator without a network of ours.

Its score is the evidence of the peers' mask: a number per recording, in about 0..1, higher where
there is more of a pulse that neither the background nor the motion explains.
"""

from collections.abc import Callable, Mapping

from rppg.errors import InputError
from rppg.types import FaceCrops

Score = Callable[[FaceCrops], float]


def recording_score(crops: FaceCrops) -> float:
    """Return the score of a recording; NaN if it can't be judged."""
    # PLUG IN: `from rppg.verification import recording_score`, in place of this function.
    raise InputError(
        "the mask of a peer needs the score of each recording, which this version does not "
        "compute; leave the mask out (--no-mask), or give train_peer(score=...)"
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
