"""The documents of a study: `study.json`, the long table `study.csv`, LaTeX tables, the report.

In the JSON all durations and dates are under `timing`, and nothing else is: the rest of it is the
same, bit by bit, however often the study was killed and continued.
"""

import csv
import io
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import rppg
from rppg.atomic import write_text
from rppg.json_values import finite_or_null
from rppg.study.latex import to_latex
from rppg.study.report.page import study_html
from rppg.study.results import Entry, Scores, Tables, tables
from rppg.study.run import Prepared
from rppg.study.store import Store

FORMAT = 1
VERSIONS = {"rppg": rppg.__version__, "torch": torch.__version__}
SCORES = tuple(Scores.__dataclass_fields__)
HEAD = ("method", "levels", "training", "test", "part", "fold", "seed", "epoch", "clips", *SCORES,
        "seen")  # fmt: skip


def write_documents(prepared: Prepared, store: Store, *, report: bool = True) -> Tables:
    """Write all documents, of all trials stored by now, and return the tables.

    Args:
        prepared: the study.
        store: its folder and trials.
        report: whether `study.html` is written, too, which takes a few seconds.

    Of several processes that finish at once, the one that sees the most trials has the last word.
    """
    write_text(store.folder / "study.toml", prepared.study.to_toml())
    while True:
        found = tables(prepared, store)
        write_text(store.folder / "study.csv", to_csv(found))
        write_text(store.folder / "study.json", to_json(prepared, found))
        write_text(store.folder / "study.tex", to_latex(prepared, found))
        if report:
            write_text(store.folder / "study.html", study_html(prepared, found, VERSIONS))
        now = [trial.title for trial, job in prepared.jobs.items() if not store.complete(job)]
        if len(now) == len(found.missing):
            return found


def to_json(prepared: Prepared, found: Tables) -> str:
    """Return the JSON document."""
    document = {
        "format": FORMAT,
        "study": prepared.study.model_dump(mode="json"),
        "versions": VERSIONS,
        "data": [
            {
                "dataset": part.dataset,
                "part": part.kind,
                "fold": part.fold,
                "recordings": survey.recordings,
                "subjects": survey.subjects,
                "digest": survey.digest if not survey.reason else None,
            }
            for part, survey in prepared.parts.items()
        ],
        "trials": {"planned": found.trials, "missing": list(found.missing)},
        "cells": [asdict(cell) for cell in found.cells],
        "means": [asdict(mean) for mean in found.means],
        "ranks": [asdict(rank) for rank in found.ranks],
        "agreement": [asdict(agreement) for agreement in found.agreement],
        "breakdown": [
            {"key": group.key, "value": group.value, **asdict(group.mean)}
            for group in found.breakdown
        ],
        "curves": [asdict(cell) for cell in found.curves],
        "curve_points": [
            {"epoch": point.epoch, "clips": point.clips, **asdict(point.mean)}
            for point in found.curve_points
        ],
        "left_out": [asdict(left_out) for left_out in found.left_out],
        "timing": {
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "trials": dict(found.timing),
        },
    }
    text = json.dumps(finite_or_null(document), ensure_ascii=False, indent=1, allow_nan=False)
    return text + "\n"


def to_csv(found: Tables) -> str:
    """Return the long table: a row for each trial, test and epoch. Missing values are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEAD)
    for entry in found.entries:
        writer.writerow(_row(entry))
    return out.getvalue()


def without_timing(path: Path) -> dict[str, Any]:
    """Return a study's JSON without `timing`, to compare two of them."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    del document["timing"]
    return document


def _row(entry: Entry) -> list[object]:
    scores = finite_or_null(asdict(entry.scores))
    assert isinstance(scores, dict)
    trial = entry.trial
    return [
        trial.method, entry.levels, trial.trained_on, entry.part.dataset, entry.column[1],
        entry.part.fold or "", trial.seed, entry.epoch, entry.clips,
        *(scores[name] for name in SCORES), entry.seen,
    ]  # fmt: skip
