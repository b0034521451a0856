"""The recordings that a training reads: opened from SPECs, cached, and checked for a whole clip."""

import logging
from collections.abc import Callable, Sequence

from rppg.crops.cache import cached, checked_elsewhere, store
from rppg.data.specs import open_datasets
from rppg.errors import InputError
from rppg.train import distributed
from rppg.types import FaceCrops, Recording

logger = logging.getLogger(__name__)

Skipped = dict[tuple[str, str], str]
"""Reasons by dataset and name of the recordings that can't be used."""


def open_recordings(
    data: Sequence[str],
    subjects: int,
    *,
    cache: bool,
    workers: int | None,
    loading: Callable[[int, int], None] | None,
) -> list[Recording]:
    """Open the training split of some SPECs; `cache`, `workers` and `loading` as for `train`."""
    return open_by_ranks(
        lambda: open_datasets(data, split="train", subjects=subjects, progress=loading),
        cache=cache,
        workers=workers,
        loading=loading,
    )


def open_by_ranks(
    open_all: Callable[[], list[Recording]],
    *,
    cache: bool,
    workers: int | None,
    loading: Callable[[int, int], None] | None = None,
) -> list[Recording]:
    """Open recordings, with their crops in the cache; `cache`, ... as for `train`.

    With several ranks the first one renders synthetic recordings. Each rank then reads a share of
    the videos into the cache and checks a share of the crops in it, for all of them.
    """
    recordings = distributed.first_rank_first(open_all)
    if not cache:
        return recordings
    if not distributed.is_distributed():
        return cached(recordings, workers=workers, progress=loading)
    distributed.each_its_share(
        lambda part: store(recordings[part], workers=workers, progress=loading, verify=True)
    )
    return checked_elsewhere(cached(recordings, workers=workers, progress=loading))


def readable_crops(
    recordings: Sequence[Recording], clip_s: float
) -> tuple[list[FaceCrops], Skipped]:
    """Return the crops of the recordings that can be used, and why the others can't.

    Raises:
        InputError: none of them can be used.
    """
    usable: list[FaceCrops] = []
    skipped: Skipped = {}
    for recording in recordings:
        try:
            usable.append(_load_crops(recording, clip_s))
        except InputError as error:
            skipped[recording.dataset, recording.name] = str(error)
            logger.warning("left out: %s", error)
    if skipped:
        logger.warning("%d of %d recordings are left out", len(skipped), len(recordings))
    if not usable:
        raise InputError(
            f"none of the {len(recordings)} recordings can be used; the first: "
            f"{next(iter(skipped.values()), 'there are none')}"
        )
    return usable, skipped


def _load_crops(recording: Recording, clip_s: float) -> FaceCrops:
    """Return a recording's crops.

    Raises:
        InputError: they can't be read, or are shorter than a clip.
    """
    crops = recording.load_crops()
    if len(crops.times_s) < 2 or crops.duration_s + 1 / crops.fps < clip_s - 1e-3:
        raise InputError(
            f"{recording.name}: {len(crops.times_s)} frames, shorter than a clip of {clip_s:g} s; "
            "record longer, or choose a smaller clip_s"
        )
    return crops
