"""The evaluation of a trial's networks on one part, and the mean heart rate of a training set."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rppg.errors import InputError
from rppg.estimators.estimator import ConstantGuess, Estimator, constant_guess
from rppg.evaluation import Evaluation, Journal, Waves, evaluate
from rppg.evaluation.left_out import leave_out_without_windows
from rppg.report.waves import file_name, write_waves
from rppg.study.config import CONSTANT, StudyConfig
from rppg.study.parts import Part
from rppg.types import Recording

Method = Estimator | ConstantGuess

COLUMNS = ("record", "subject", "start_s", "end_s", "hr_true_bpm", "hr_pred_bpm", "snr_db",
           "correlation")  # fmt: skip
"""The columns of the windows that are kept; see `rppg.evaluation.Row`."""
DECIMALS = 4
"""To which bpm, dB, seconds and correlations are kept."""


def evaluate_part(
    part: Part,
    methods: Mapping[str, Method],
    recordings: Sequence[Recording],
    study: StudyConfig,
    *,
    key: str,
    folder: Path,
    label: str,
    waves: Path | None = None,
    progress: Callable[[Recording], None] | None = None,
) -> dict[str, Any]:
    """Evaluate methods on a part, and return what is stored of the test.

    Args:
        methods: by the epoch after which they are tested.
        recordings: of the part.
        key: of the test.
        folder: where each recording's outcome is kept until the trial is stored.
        label: the trial's, which names the predicted waves.
        waves: the folder for the recordings' waves.
        progress: called with each recording after its evaluation.

    Raises:
        InputError: as `evaluate`, or a file can't be written.
    """
    # a recording whose outcome is kept isn't evaluated again, so it must have had its waves
    journal = folder / (f"test-{key}.jsonl" if waves is None else f"test-{key}-waves.jsonl")
    evaluation = evaluate(
        recordings,
        methods,
        study.evaluation.build(),
        progress,
        Journal(journal, {"key": key}, resume=True),
        on_waves=None if waves is None else _writer(waves, label, methods),
        verified=False,
    )
    if waves is not None:
        _remove_others(waves, recordings)
    evaluation = leave_out_without_windows(evaluation, recordings)
    kept = {row.record for row in evaluation.windows}
    return {
        "part": asdict(part),
        "recordings": {
            r.name: {"subject": r.subject, "metadata": dict(r.metadata)}
            for r in recordings
            if r.name in kept
        },
        "windows": {epoch: _columns(evaluation, epoch) for epoch in methods},
        "left_out": [
            {"recording": f.record, "reason": f.reason, "method": f.method is not None}
            for f in evaluation.failures
        ],
        "seen": sorted({known.record for known in evaluation.trained_on}),
        "waves": waves is not None,
    }


def mean_rate(recordings: Sequence[Recording], study: StudyConfig) -> tuple[float, int]:
    """Return the mean true heart rate of all windows in bpm, and their number.

    Raises:
        InputError: no window has a true heart rate.
    """
    protocol = study.evaluation.build()
    rows = evaluate(recordings, {CONSTANT: constant_guess(75)}, protocol, verified=False).windows
    rates = [row.hr_true_bpm for row in rows if math.isfinite(row.hr_true_bpm)]
    if not rates:
        raise InputError("no window of the training set has a true heart rate to guess")
    return sum(rates) / len(rates), len(rates)


def _columns(evaluation: Evaluation, method: str) -> dict[str, list[Any]]:
    rows = [row for row in evaluation.windows if row.method == method]
    return {name: [_rounded(getattr(row, name)) for row in rows] for name in COLUMNS}


def _rounded(value: str | float) -> str | float:
    return round(value, DECIMALS) if isinstance(value, float) else value


def _writer(folder: Path, label: str, methods: Mapping[str, Method]) -> Callable[[Waves], object]:
    """Return a function that writes waves, with a column for each tested epoch."""
    names = {e: f"{label}, epoch {e}" if len(methods) > 1 else label for e in methods}
    folder.mkdir(parents=True, exist_ok=True)

    def write(waves: Waves) -> None:
        named = {names[epoch]: bvp for epoch, bvp in waves.bvp_pred.items()}
        write_waves(folder, replace(waves, bvp_pred=named))

    return write


def _remove_others(folder: Path, recordings: Sequence[Recording]) -> None:
    """Remove the waves of recordings that an earlier test had, and this one hasn't."""
    own = {folder / file_name(r.dataset) / f"{file_name(r.name)}.csv" for r in recordings}
    for path in set(folder.glob("*/*.csv")) - own:
        path.unlink()
