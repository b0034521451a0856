"""What a reference estimator says of a run's recordings: which to train on, and their pulse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from rppg.errors import InputError
from rppg.json_values import finite_or_null
from rppg.peers.clips import Span
from rppg.peers.config import PeerConfig
from rppg.peers.levels import PeerMaskConfig
from rppg.peers.optimizer import prior_of
from rppg.peers.selection import Target, find_targets
from rppg.train.verified import Wave, reference_waves


@dataclass(frozen=True)
class Verification:
    """The verification of a run's recordings, each named by its index.

    Attributes:
        scores: of the recordings that were judged.
        rejected: those to train on that the mask rejects.
        targets: the clips on which the epoch is chosen, if it is chosen by the reference.
    """

    scores: Mapping[int, float] = field(default_factory=dict)
    rejected: Sequence[int] = ()
    targets: Sequence[Target] = ()

    @property
    def references(self) -> list[int]:
        """The held-out recordings by which the epoch is chosen."""
        return sorted({target.clip[0].recording for target in self.targets})

    @property
    def decisions(self) -> list[list[int]]:
        """All that a run depends on, as JSON values: scores may differ in their last bits."""
        return [list(self.rejected), self.references]

    def provenance(self, names: Sequence[str]) -> dict[str, Any]:
        """Return it for the checkpoint.

        Args:
            names: of all recordings.
        """
        return {
            "scores": {names[n]: finite_or_null(score) for n, score in self.scores.items()},
            "rejected": [names[n] for n in self.rejected],
            "references": [names[n] for n in self.references],
        }


def verify(
    training: Sequence[Span],
    held_out: Sequence[Span],
    config: PeerConfig,
    scores: Sequence[float],
    reference: Wave | None = None,
) -> Verification | None:
    """Judge the recordings as far as the configuration asks for it; None if it doesn't.

    Args:
        training: the spans to train on.
        held_out: those by which the epoch is chosen.
        config: the configuration.
        scores: of all recordings, by index.
        reference: the function from crops to the reference's wave; that of `verified` if None.

    Raises:
        InputError: too few recordings pass.
    """
    if config.mask is None and config.select == "own":
        return None
    used: dict[int, float] = {}
    rejected: list[int] = []
    targets: list[Target] = []
    mask = config.mask or PeerMaskConfig()
    if config.mask is not None:
        used = _of(training, scores)
        rejected = _rejected(used, mask)
        _check_enough(len(used) - len(rejected), len(used), config)
    if config.select == "reference":
        judged = _of(held_out, scores)
        low = _rejected(judged, mask)
        kept = {s.recording: s.crops for s in held_out if s.recording not in low}
        targets = find_targets(held_out, reference_waves(kept, reference), config)
        if not targets:
            raise InputError(
                f"select = reference: none of the {len(judged)} held-out recordings has a pulse by "
                f"the reference (a score of {mask.threshold:g} or more); give more recordings, or "
                "select = own"
            )
        used |= judged
    return Verification(used, rejected, targets)


def _of(spans: Sequence[Span], scores: Sequence[float]) -> dict[int, float]:
    return {span.recording: scores[span.recording] for span in spans}


def _rejected(scores: Mapping[int, float], mask: PeerMaskConfig) -> list[int]:
    keep = prior_of(mask)(torch.tensor(list(scores.values()))).tolist()
    return [index for index, kept in zip(scores, keep, strict=True) if not kept]


def _check_enough(found: int, of: int, config: PeerConfig) -> None:
    assert config.mask is not None
    needed = 1 if config.method == "sinc" else 2
    if found < needed:
        raise InputError(
            f"{found} of the {of} recordings to train on have a score of "
            f"{config.mask.threshold:g} or more, {config.method} needs {needed}; lower "
            "mask.threshold, or leave the mask out (--no-mask)"
        )
