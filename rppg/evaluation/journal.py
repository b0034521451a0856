"""Journal of an evaluation: each recording's outcome is a line, so that it can be resumed."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rppg.errors import InputError
from rppg.evaluation.results import Failure, Outcome, Row, Waveform

FORMAT = 2

Key = tuple[str, str]
"""Dataset and name of a recording."""


@dataclass(frozen=True)
class Journal:
    """An append-only file of JSON lines; an incomplete last line is ignored.

    Attributes:
        path: the file.
        run: the settings that the outcomes depend on, as JSON values. A file with other settings
            is refused.
        resume: whether to continue from the file if it exists.
    """

    path: Path
    run: Mapping[str, Any]
    resume: bool = False

    def open(self) -> dict[Key, Outcome]:
        """Return the outcomes so far, and prepare the file for `add`.

        Raises:
            InputError: the file has other settings, or is not a journal.
        """
        head = json.dumps({"format": FORMAT, "run": dict(self.run)}) + "\n"
        if self.resume and self.path.exists():
            content = self.path.read_bytes()
            lines = content[: content.rfind(b"\n") + 1].splitlines(keepends=True)
            if lines:
                if lines[0] != head.encode():
                    raise InputError(
                        f"{self.path}: of another evaluation, or another version; give the same "
                        "data, methods and settings, or leave --resume out"
                    )
                outcomes = dict(
                    self._read(number, line) for number, line in enumerate(lines[1:], 2)
                )
                with self.path.open("rb+") as file:
                    file.truncate(sum(map(len, lines)))
                return outcomes
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(head, encoding="utf-8")
        return {}

    def add(self, key: Key, outcome: Outcome) -> None:
        """Append the outcome of a recording."""
        line = json.dumps({"key": key, **_to_json(outcome)}) + "\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)

    def remove(self) -> None:
        """Remove the file, once the evaluation is complete."""
        self.path.unlink(missing_ok=True)

    def _read(self, number: int, line: bytes) -> tuple[Key, Outcome]:
        try:
            values = json.loads(line)
            dataset, recording = values["key"]
            return (str(dataset), str(recording)), _from_json(values)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.path}: line {number} is damaged ({error}); leave --resume out"
            ) from error


def _to_json(outcome: Outcome) -> dict[str, Any]:
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


def _from_json(values: Mapping[str, Any]) -> Outcome:
    waves: list[dict[str, Any]] = [
        {
            name: np.array(value) if isinstance(value, list) else value
            for name, value in wave.items()
        }
        for wave in values["waveforms"]
    ]
    return Outcome(
        windows=tuple(Row(**row) for row in values["windows"]),
        clips=tuple(Row(**row) for row in values["clips"]),
        waveforms=tuple(Waveform(**wave) for wave in waves),
        failures=tuple(Failure(**failure) for failure in values["failures"]),
    )
