"""`rppg check`."""

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rppg.commands.options import Json, NoCache, Specs, Subjects, Workers
from rppg.commands.terminal import print_json, print_line, progress_bars

if TYPE_CHECKING:
    from rppg.data.check import Defect
    from rppg.types import Recording


def check(
    data: Specs,
    subjects: Subjects = 40,
    pulse: Annotated[
        bool,
        typer.Option(
            "--pulse",
            help="Also list recordings in which no pulse is found. That needs the crops: if they "
            "are cached, a quarter of a second per minute of video, else as long as `rppg cache`.",
        ),
    ] = False,
    no_cache: NoCache = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Read every recording and list its defects; exit code 2 if there are any.

    --no-cache and --workers only matter with --pulse: without it, no crops are cut from videos.
    """
    from rppg.crops.cache import cached
    from rppg.data.check import check_recording
    from rppg.data.specs import open_datasets
    from rppg.json_values import finite_or_null

    entries: list[dict[str, Any]] = []
    with progress_bars(quiet=as_json) as bars:
        recordings = open_datasets(data, split="train", subjects=subjects, progress=bars.loading)
        if pulse and not no_cache:
            recordings = cached(recordings, workers=workers, progress=bars.loading)
        count = bars.counter("check", len(recordings))
        for recording in recordings:
            defects = check_recording(recording)
            entry = {
                "dataset": recording.dataset,
                "record": recording.name,
                "subject": recording.subject,
                "metadata": dict(recording.metadata),
                "usable": not any(defect.fatal for defect in defects),
            }
            if pulse:
                score = _score(recording)
                entry["score"] = finite_or_null(score)
                defects += _missing_pulse(recording, score)
            entries.append({**entry, "defects": [asdict(defect) for defect in defects]})
            if not as_json:
                _print(recording, defects)
            count(recording)
    defective = sum(bool(entry["defects"]) for entry in entries)
    unusable = sum(not entry["usable"] for entry in entries)
    if as_json:
        print_json({"records": entries})
    else:
        print_line(
            f"{len(entries)} recordings: {defective} with defects, {unusable} of them can't be used"
        )
        if pulse:
            without = sum(d["kind"] == "pulse" for entry in entries for d in entry["defects"])
            unjudged = sum(entry["score"] is None for entry in entries)
            if without:
                print_line(
                    "Living people with a weak pulse are listed, too: six in seven of those with "
                    "under 0.2 % of the light; look before --require-pulse leaves them out"
                )
            print_line(f"Without a pulse: {without}; can't be judged: {unjudged}")
    if defective:
        raise typer.Exit(2)


def _score(recording: "Recording") -> float:
    """Return the score of a recording, NaN if it can't be read."""
    from rppg.captured_warnings import capture_warnings
    from rppg.errors import InputError
    from rppg.estimators.pulse_score import recording_score

    with capture_warnings():  # they are defects already
        try:
            return recording_score(recording.load_crops())
        except InputError:
            return float("nan")


def _missing_pulse(recording: "Recording", score: float) -> list["Defect"]:
    """Return the defect that no pulse is found; none for a recording that can't be judged."""
    from rppg.data.check import Defect
    from rppg.estimators.pulse_score import describe_no_pulse

    reason = describe_no_pulse(score)
    if reason is None or math.isnan(score):
        return []
    return [Defect(recording.dataset, recording.name, "pulse", reason, fatal=False)]


def _print(recording: "Recording", defects: list["Defect"]) -> None:
    for defect in defects:
        use = "can't be used" if defect.fatal else "used as far as it goes"
        if defect.kind == "pulse":
            use = "used without --require-pulse"
        print_line(f"{recording.name}  {defect.kind}  {use}  {defect.message}")
    if not defects:
        print_line(f"{recording.name}  ok")
