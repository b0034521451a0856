"""What came of each record, one line each: an evaluation that was killed goes on from there."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rppg.errors import InputError
from rppg.evaluation.results import Failure, Outcome, Row, Waveform

FORMAT = 1

Key = tuple[str, str]
"""Dataset and name of a record."""


@dataclass(frozen=True)
class Journal:
    """A file of JSON lines that only grows; a last line that was cut off doesn't count.

    Attributes:
        path: of the file.
        run: what the outcomes depend on, as JSON values: another run's are refused.
        resume: whether to go on from the file, where there is one.
    """

    path: Path
    run: Mapping[str, Any]
    resume: bool = False

    def open(self) -> dict[Key, Outcome]:
        """What is done already; the file is ready to be added to.

        Raises:
            InputError: the file is of another run, or no such file.
        """
        head = json.dumps({"format": FORMAT, "run": dict(self.run)}) + "\n"
        if self.resume and self.path.exists():
            whole = self.path.read_bytes()
            lines = whole[: whole.rfind(b"\n") + 1].splitlines(keepends=True)
            if lines:
                if lines[0] != head.encode():
                    raise InputError(
                        f"{self.path}: of another evaluation, or no list of outcomes of this "
                        "version; give the same data, methods and settings, or leave --resume out"
                    )
                done = dict(self._read(number, line) for number, line in enumerate(lines[1:], 2))
                with self.path.open("rb+") as file:
                    file.truncate(sum(map(len, lines)))
                return done
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(head, encoding="utf-8")
        return {}

    def add(self, key: Key, outcome: Outcome) -> None:
        """Note what came of a record."""
        line = json.dumps({"key": key, **_told(outcome)}) + "\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)

    def remove(self) -> None:
        """The evaluation is over."""
        self.path.unlink(missing_ok=True)

    def _read(self, number: int, line: bytes) -> tuple[Key, Outcome]:
        try:
            told = json.loads(line)
            dataset, recording = told["key"]
            return (str(dataset), str(recording)), _outcome(told)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.path}: line {number} is damaged ({error}); leave --resume out"
            ) from error


def _told(outcome: Outcome) -> dict[str, Any]:
    waves = [
        {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(wave).items()
        }
        for wave in outcome.waveforms
    ]
    return {
        "windows": [asdict(row) for row in outcome.windows],
        "clips": [asdict(row) for row in outcome.clips],
        "waveforms": waves,
        "failures": [asdict(failure) for failure in outcome.failures],
    }


def _outcome(told: Mapping[str, Any]) -> Outcome:
    waves: list[dict[str, Any]] = [
        {
            name: np.array(value) if isinstance(value, list) else value
            for name, value in wave.items()
        }
        for wave in told["waveforms"]
    ]
    return Outcome(
        windows=tuple(Row(**row) for row in told["windows"]),
        clips=tuple(Row(**row) for row in told["clips"]),
        waveforms=tuple(Waveform(**wave) for wave in waves),
        failures=tuple(Failure(**failure) for failure in told["failures"]),
    )
