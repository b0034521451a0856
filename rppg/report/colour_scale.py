"""A scale of colours for the cells of a table, on which black text is legible throughout."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

LIGHT, DARK = (255, 252, 245), (240, 140, 70)
"""Of one hue: who sees no colours sees the lightness. Black has a contrast of 8 : 1 or more."""


@dataclass(frozen=True)
class ColourScale:
    """A logarithmic scale from the least value, light, to the largest."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float]) -> "ColourScale":
        """Return the scale over the values that are finite and positive."""
        positive = [value for value in values if math.isfinite(value) and value > 0]
        return cls(min(positive, default=1.0), max(positive, default=1.0))

    def colour(self, value: float) -> str:
        """Return a value's colour, `#rrggbb`; empty for one that is missing."""
        if not math.isfinite(value):
            return ""
        share = 0.0
        if value > self.low and self.high > self.low:
            share = min(1.0, math.log(value / self.low) / math.log(self.high / self.low))
        mixed = (round(a + share * (b - a)) for a, b in zip(LIGHT, DARK, strict=True))
        return "#" + "".join(f"{part:02x}" for part in mixed)

    def steps(self, count: int) -> list[float]:
        """Return values at equal distances on the scale, from its beginning to its end."""
        ratio = self.high / self.low
        return [self.low * ratio ** (step / (count - 1)) for step in range(count)]
