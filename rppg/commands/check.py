"""`rppg check`."""

from dataclasses import asdict
from typing import Any

import typer

from rppg.commands.options import Json, Specs, Subjects
from rppg.commands.terminal import print_json, print_line, progress_bars


def check(
    data: Specs,
    subjects: Subjects = 40,
    as_json: Json = False,
) -> None:
    """Read every recording and list its defects; exit code 2 if there are any."""
    from rppg.data.check import check_recording
    from rppg.data.specs import open_datasets

    entries: list[dict[str, Any]] = []
    with progress_bars(quiet=as_json) as bars:
        recordings = open_datasets(data, split="train", subjects=subjects, progress=bars.loading)
        count = bars.counter("check", len(recordings))
        for recording in recordings:
            defects = check_recording(recording)
            entries.append(
                {
                    "dataset": recording.dataset,
                    "record": recording.name,
                    "subject": recording.subject,
                    "metadata": dict(recording.metadata),
                    "usable": not any(defect.fatal for defect in defects),
                    "defects": [asdict(defect) for defect in defects],
                }
            )
            if not as_json:
                for defect in defects:
                    use = "can't be used" if defect.fatal else "used as far as it goes"
                    print_line(f"{recording.name}  {defect.kind}  {use}  {defect.message}")
                if not defects:
                    print_line(f"{recording.name}  ok")
            count(recording)
    defective = sum(bool(entry["defects"]) for entry in entries)
    unusable = sum(not entry["usable"] for entry in entries)
    if as_json:
        print_json({"records": entries})
    else:
        print_line(
            f"{len(entries)} recordings: {defective} with defects, {unusable} of them can't be used"
        )
    if defective:
        raise typer.Exit(2)
