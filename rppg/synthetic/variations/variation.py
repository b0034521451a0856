"""The options of a synthetic dataset, as a dataclass and as the query of a SPEC.

`synthetic:wild?beside=shoulder&hr=36-38` are the domain's people, with bare skin beside the face
and a slow heart. `VERSION` is part of the dataset's name; a change of anything that an option draws
requires a new one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rppg.errors import InputError

VERSION = 1
VERSION_KEY = "options"
BESIDE = ("shoulder", "hand", "second-face")
RHYTHMS = ("recovery", "irregular")
TUNED_KINDS = ("photograph", "dummy", "wall", "mannequin")
"""Kinds of recordings without a pulse for choosing methods and thresholds."""
TESTED_KINDS = ("mains", "screen", "walking", "turned", "keyframes", "other-motion")
"""Kinds for testing what was chosen, and for nothing else."""
DEAD_KINDS = TUNED_KINDS + TESTED_KINDS

Range = tuple[float, float]

_NUMBER = r"\d*\.?\d+(?:e-?\d+)?"
_HR_BPM, _RECOVERY_BPM, _AMPLITUDE = (25.0, 220.0), (100.0, 220.0), (1e-5, 0.1)


@dataclass(frozen=True)
class Variation:
    """The options of a synthetic dataset. Without any, it is the plain domain.

    Attributes:
        beside: what else with a pulse is in the picture. `shoulder` and `hand` are bare skin of the
            same person; `second-face` is another person, with a heart rate of its own.
        hr_bpm: range of heart rates; with the rhythm `recovery`, of the rate at the start.
        amplitude: range of pulse amplitudes in AC/DC units, as `Domain.pulse`.
        rhythm: `recovery`, whose rate falls by 30–50 bpm within the recording, or `irregular`,
            whose beats vary independently by 15–25 %, as in atrial fibrillation.
        replay: whether each recording is filmed off a screen that plays it.
        dead: share of subjects whose recording has no pulse and no ground truth. The subjects dead
            at one share are dead at any larger one, and of the same kind. The other options change
            the living ones alone.
        dead_kinds: kinds that the dead ones are drawn from, of `DEAD_KINDS`, in any order.

    Raises:
        InputError: an unknown value, or a range that isn't one.
    """

    beside: str | None = None
    hr_bpm: Range | None = None
    amplitude: Range | None = None
    rhythm: str | None = None
    replay: bool = False
    dead: float = 0.0
    dead_kinds: tuple[str, ...] = TUNED_KINDS

    def __post_init__(self) -> None:
        _check_name("beside", self.beside, BESIDE)
        _check_name("rhythm", self.rhythm, RHYTHMS)
        _check_range("hr", self.hr_bpm, _RECOVERY_BPM if self.rhythm == "recovery" else _HR_BPM)
        _check_range("amplitude", self.amplitude, _AMPLITUDE)
        if not 0 <= self.dead <= 1:
            raise InputError(f"dead={self.dead:g}; give a share of subjects, from 0 to 1")
        if not self.dead_kinds:
            raise InputError(f"dead_kinds is empty; choose some of {', '.join(DEAD_KINDS)}")
        for kind in self.dead_kinds:
            _check_name("dead_kinds", kind, DEAD_KINDS)

    @property
    def text(self) -> str:
        """The query of a SPEC with these options and their version; empty without options."""
        parts = {
            "beside": self.beside,
            "hr": _range_text(self.hr_bpm),
            "amplitude": _range_text(self.amplitude),
            "rhythm": self.rhythm,
            "replay": "1" if self.replay else None,
            "dead": f"{self.dead:.10g}" if self.dead else None,
            "dead_kinds": ",".join(self.kinds) if self.dead and self.kinds != TUNED_KINDS else None,
        }
        chosen = [f"{key}={value}" for key, value in parts.items() if value]
        return "&".join([*chosen, f"{VERSION_KEY}={VERSION}"]) if chosen else ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of `dead_kinds`, each once, in the order of `DEAD_KINDS`."""
        return tuple(kind for kind in DEAD_KINDS if kind in self.dead_kinds)


OPTION_KEYS = (
    "beside", "hr", "amplitude", "rhythm", "replay", "dead", "dead_kinds", VERSION_KEY,
)  # fmt: skip
"""The keys of options in a SPEC. Other keys of its query are filters."""


def parse_variation(query: Mapping[str, tuple[str, ...]]) -> Variation:
    """Parse the options in a SPEC's query; other keys are left alone.

    Raises:
        InputError: a value that the option can't have, or another version of the options.
    """
    version = _single(query, VERSION_KEY)
    if version not in (None, str(VERSION)):
        raise InputError(
            f"{VERSION_KEY}={version}: this package has version {VERSION} of the options; leave "
            f"{VERSION_KEY} out, or use the package that rendered them"
        )
    if "dead_kinds" in query and "dead" not in query:
        raise InputError("dead_kinds without dead; give dead=SHARE, too")
    dead = _single(query, "dead") or "0"
    if re.fullmatch(_NUMBER, dead) is None:
        raise InputError(f"dead={dead}; give a share of subjects, from 0 to 1")
    replay = _single(query, "replay") or "0"
    _check_name("replay", replay, ("0", "1"))
    return Variation(
        beside=_single(query, "beside"),
        hr_bpm=_range(query, "hr"),
        amplitude=_range(query, "amplitude"),
        rhythm=_single(query, "rhythm"),
        replay=replay == "1",
        dead=float(dead),
        dead_kinds=query.get("dead_kinds", TUNED_KINDS),
    )


def _single(query: Mapping[str, tuple[str, ...]], key: str) -> str | None:
    values = query.get(key)
    if values is None:
        return None
    if len(values) != 1:
        raise InputError(f"{key}={','.join(values)}: give one value; open a SPEC for each")
    return values[0]


def _range(query: Mapping[str, tuple[str, ...]], key: str) -> Range | None:
    value = _single(query, key)
    if value is None:
        return None
    match = re.fullmatch(f"({_NUMBER})(?:-({_NUMBER}))?", value)
    if match is None:
        raise InputError(f"{key}={value} is no range; give {key}=LOW-HIGH, or one number")
    return float(match[1]), float(match[2] or match[1])


def _range_text(values: Range | None) -> str | None:
    return None if values is None else f"{values[0]:.10g}-{values[1]:.10g}"


def _check_name(key: str, name: str | None, known: tuple[str, ...]) -> None:
    if name is not None and name not in known:
        raise InputError(f"no {key}={name}; choose one of {', '.join(known)}")


def _check_range(key: str, values: Range | None, limits: Range) -> None:
    if values is not None and not limits[0] <= values[0] <= values[1] <= limits[1]:
        raise InputError(
            f"{key}={values[0]:g}-{values[1]:g}; give {key}=LOW-HIGH within "
            f"{limits[0]:g}-{limits[1]:g}"
        )
