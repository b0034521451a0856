"""An evaluation as JSON and as CSV; a missing value is null, or an empty cell."""

import csv
import io
import json
import math
from dataclasses import asdict, fields

from rppg.evaluation.results import Evaluation, Row

_MEASURES = [field.name for field in fields(Row) if field.name != "metadata"]


def to_json(evaluation: Evaluation) -> str:
    """One JSON document: settings, data, summary by windows and by clips, every row, failures.

    Waveforms are left out; they are in the report.
    """
    document = {
        "settings": dict(evaluation.settings),
        "data": [used.to_json() for used in evaluation.data],
        "summary": {
            "windows": [asdict(scores) for scores in evaluation.summary("windows")],
            "clips": [asdict(scores) for scores in evaluation.summary("clips")],
        },
        "windows": [_plain(row) for row in evaluation.windows],
        "clips": [_plain(row) for row in evaluation.clips],
        "failures": [asdict(failure) for failure in evaluation.failures],
    }
    return json.dumps(_without_nan(document), ensure_ascii=False, indent=1, allow_nan=False)


def to_csv(evaluation: Evaluation) -> str:
    """One line for each window and for each whole clip (`scope`), with one column for each key of
    the metadata (`metadata.KEY`)."""
    keys = evaluation.metadata_keys
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["scope", *_MEASURES, *(f"metadata.{key}" for key in keys)])
    for scope, rows in (("window", evaluation.windows), ("clip", evaluation.clips)):
        for row in rows:
            values = _without_nan([getattr(row, name) for name in _MEASURES])
            assert isinstance(values, list)
            writer.writerow([scope, *values, *(row.metadata.get(key, "") for key in keys)])
    return out.getvalue()


def _plain(row: Row) -> dict[str, object]:
    return {**{name: getattr(row, name) for name in _MEASURES}, "metadata": dict(row.metadata)}


def _without_nan(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
