"""The traces by which the waves of a recording are verified, whatever the method that made them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rppg.models.fcus import FcusOutput, ModelConfig
from rppg.models.motion import KINDS
from rppg.models.patches import background_patches

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class ReferenceTraces:
    """The traces of a recording, from FCUS's network on overlapping clips.

    What the network computes once per clip is a trace, too, which changes from clip to clip.

    Attributes:
        rows: `(2 + 2M + 4 + 2R, T)` all traces: a wave, the score, M of the light, 4 of the motion,
            and R regions.
        lights: M.
    """

    rows: Rows
    lights: int

    @property
    def second(self) -> Rows:
        """`(T,)` the BVP by a second method, whose heart rate may agree; NaN if there is none."""
        return self.rows[0]

    @property
    def score(self) -> Rows:
        """`(T,)` in 0..1: how sure the network is that there is a pulse (`FcusNet.line`)."""
        return self.rows[1]

    def with_second(self, wave: NDArray[np.float64] | float) -> "ReferenceTraces":
        """Return the traces with another wave `(T,)` as the second method's."""
        rows = self.rows.copy()
        rows[0] = wave
        return replace(self, rows=rows)

    @property
    def light(self) -> Rows:
        """`(M, T)` traces of the background, AC/DC units."""
        return self.rows[2:][: self.lights]

    @property
    def motion(self) -> Rows:
        """`(4, T)` traces of the head's motion, as shares of the crop's side."""
        return self.rows[2 + self.lights :][:KINDS]

    @property
    def seen(self) -> Rows:
        """`(M, T)` in 0..1: how much background each light trace is made of."""
        return self.rows[2 + self.lights + KINDS :][: self.lights]

    @property
    def regions(self) -> Rows:
        """`(R, T)` BVP of each region of the face, AC/DC units."""
        return self._of_regions[: len(self._of_regions) // 2]

    @property
    def attention(self) -> Rows:
        """`(R, T)` share of skin in each region; sums to 1."""
        return self._of_regions[len(self._of_regions) // 2 :]

    @property
    def _of_regions(self) -> Rows:
        return self.rows[2 + 2 * self.lights + KINDS :]


def join_traces(parts: Sequence[ReferenceTraces]) -> ReferenceTraces:
    """Join the traces of consecutive stretches in time."""
    return replace(parts[0], rows=np.concatenate([part.rows for part in parts], axis=-1))


def cut_traces(traces: ReferenceTraces, part: slice) -> ReferenceTraces:
    """Return the traces of a part of the time."""
    return replace(traces, rows=traces.rows[:, part])


def stack_traces(output: FcusOutput, line: Tensor) -> Tensor:
    """Return the rows `(B, 1 + 2M + 4 + 2R, T)` of clips: those of `ReferenceTraces` but the first.

    Args:
        output: of the network on B clips.
        line: `(B,)` the clips' scores.
    """
    references, time = output.references, output.regions.shape[-1]
    score, seen, attention = (
        constant[..., None].expand(-1, -1, time)
        for constant in (line[:, None], references.seen, output.attention)
    )
    rows = [score, references.light, references.motion, seen, output.regions, attention]
    return torch.cat(rows, dim=1)


def count_lights(config: ModelConfig) -> int:
    """Return the number of light traces of a network."""
    return len(background_patches(config.grid)) * config.spectral_channels
