"""An evaluation as JSON and as CSV. A missing value is null or an empty cell."""

import csv
import io
import json
from dataclasses import asdict, fields

from rppg.evaluation.objected import list_objected
from rppg.evaluation.results import Evaluation, Row
from rppg.json_values import finite_or_null

_MEASURES = [field.name for field in fields(Row) if field.name != "metadata"]


def to_json(evaluation: Evaluation) -> str:
    """Return a JSON document: settings, data, summaries of windows and clips, rows, failures.

    `trained_on` lists the recordings that were in a method's training data, and the summaries count
    them. `objections` lists the recordings with windows that `rppg predict` would call unreliable.
    Waveforms are not included; they are in the report.
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
        "trained_on": [asdict(known) for known in evaluation.trained_on],
        "objections": [asdict(objected) for objected in list_objected(evaluation)],
    }
    return json.dumps(finite_or_null(document), ensure_ascii=False, indent=1, allow_nan=False)


def to_csv(evaluation: Evaluation) -> str:
    """Return a row for each window and each whole clip (`scope`).

    Each key of the metadata has a column, `metadata.KEY`.
    """
    keys = evaluation.metadata_keys
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["scope", *_MEASURES, *(f"metadata.{key}" for key in keys)])
    for scope, rows in (("window", evaluation.windows), ("clip", evaluation.clips)):
        for row in rows:
            values = finite_or_null([getattr(row, name) for name in _MEASURES])
            assert isinstance(values, list)
            writer.writerow([scope, *values, *(row.metadata.get(key, "") for key in keys)])
    return out.getvalue()


def _plain(row: Row) -> dict[str, object]:
    return {**{name: getattr(row, name) for name in _MEASURES}, "metadata": dict(row.metadata)}
