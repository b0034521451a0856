"""The report of an evaluation: an HTML file that refers to no other file."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from rppg.atomic import write_text
from rppg.evaluation import Evaluation, Row, Waveform
from rppg.evaluation.objected import list_objected
from rppg.report import html_elements as html
from rppg.report.columns import COLUMNS, best
from rppg.report.table import windows_title
from rppg.report.trained_on import mark

TrainingLog = Sequence[Mapping[str, float]]
"""One row per step: `step`, `clips_seen` or both, and the quantities that are plotted."""


def write_report(
    path: str | Path,
    evaluation: Evaluation,
    training: TrainingLog | None = None,
    *,
    title: str = "Heart rate from face video",
    settings: Mapping[str, object] | None = None,
) -> Path:
    """Write `report.html`: tables, training curves, waveforms, heart rate over time, agreement.

    The file contains its figures. It is written atomically, so that a reader never sees half of it.

    Args:
        path: the file; its folder is created if necessary.
        evaluation: the results to report.
        training: the log of the training, one row per step, or None.
        title: heading of the page.
        settings: other settings that determine the result (seed, checkpoint, version).
    """
    target = Path(path)
    document = html.page(title, list(_sections(evaluation, training, settings or {})))
    write_text(target, document)
    return target


def _sections(
    evaluation: Evaluation, training: TrainingLog | None, settings: Mapping[str, object]
) -> Iterable[str]:
    from rppg.report.training import training_figures

    yield from _headlines(evaluation)
    yield _tables(evaluation)
    curves = [
        html.image(figure, f"{name} during training") + html.paragraph(reading)
        for figure, name, reading in training_figures(training or ())
    ]
    if curves:
        reading = "Thin: each step; thick: running median."
        yield html.section(
            "Training", reading, html.images([f"<div>{curve}</div>" for curve in curves])
        )
    if evaluation.waveforms:
        yield from _examples(evaluation)
    yield _agreement(evaluation)
    if evaluation.failures:
        items = [
            f"{f.dataset} / {f.record}{f' / {f.method}' if f.method else ''}: {f.reason}"
            for f in evaluation.failures
        ]
        yield html.section(
            "Not evaluated", "Not included in any number above.", html.bullets(items)
        )
    if objected := list_objected(evaluation):
        yield html.section(
            "Not to be relied on",
            "Their frames speak against a pulse. They are included in every number above, with "
            "quality 0 in these windows.",
            html.bullets([f"{found.dataset} / {found.text}" for found in objected]),
        )
    yield html.section(
        "Settings",
        "The settings that reproduce these numbers.",
        html.heading("Protocol"),
        html.settings_list(evaluation.settings),
        *([html.heading("Data"), html.settings_list(_data(evaluation))] if evaluation.data else []),
        *([html.heading("Run"), html.settings_list(settings)] if settings else []),
    )


def _data(evaluation: Evaluation) -> dict[str, str]:
    """Return a line for each dataset; the subjects' names are in the JSON."""
    lines = {}
    for used in evaluation.data:
        line = f"split {used.split}, " if used.split else ""
        line += f"{used.n_subjects} subjects, {used.recordings} recordings"
        if used.left_out:
            line += f"; {len(used.left_out)} left out"
        lines[used.dataset] = line
    return lines


def _headlines(evaluation: Evaluation) -> Iterable[str]:
    """Yield a list with the best method of each dataset."""
    table = evaluation.summary("windows")
    winners = best(COLUMNS[0], table)
    lines = [
        f"{scores.dataset}: {scores.method}{mark(scores)} is best, with a mean absolute error of "
        f"{scores.mae_bpm.value:.1f} bpm ({scores.n} windows of {scores.n_subjects} subjects)."
        for scores in table
        if (scores.dataset, scores.group, scores.method) in winners
    ]
    if lines:
        yield html.bullets(lines)


def _tables(evaluation: Evaluation) -> str:
    meanings = "; ".join(f"{column.title}: {column.meaning}" for column in COLUMNS)
    parts = [
        html.heading(windows_title(evaluation).capitalize()),
        html.score_rows(evaluation.summary("windows")),
        html.heading("Whole clips"),
        html.score_rows(evaluation.summary("clips")),
        html.fold("What the columns mean", html.paragraph(meanings + ".")),
    ]
    for key in evaluation.metadata_keys:
        if len({row.metadata.get(key) for row in evaluation.windows}) > 1:
            table = html.score_rows(evaluation.summary("windows", by=key))
            parts.append(html.fold(f"By {key}", table))
    return html.section(
        "Scores",
        "Lower errors and higher r and SNR are better; ★ marks the best of each dataset. ± is the "
        "standard error, with a 95 % bootstrap interval over subjects below; – is undefined. "
        "Coverage is the share of windows for which the method gives a heart rate. † marks a "
        "method that was trained on some of the recordings that it is tested on.",
        *parts,
    )


def _examples(evaluation: Evaluation) -> Iterable[str]:
    from rppg.report.figures import rate_figure, waveform_figure

    methods = evaluation.methods
    waves, rates = [], []
    for (dataset, recording), group in groupby(evaluation.waveforms, _recording_of):
        examples = list(group)
        title = f"{dataset} / {recording}"
        waves.append(
            html.image(waveform_figure(examples, methods, title), f"BVP against truth, {title}")
        )
        figure = rate_figure(examples, methods, title)
        if figure is not None:
            rates.append(html.image(figure, f"Heart rate over time, {title}"))
    yield html.section(
        "Blood volume pulse against truth",
        "Grey is the contact sensor, coloured the prediction, both filtered equally and scaled to "
        "unit deviation: a good prediction peaks where the grey line does, at each beat.",
        html.images(waves),
    )
    if rates:
        yield html.section(
            "Heart rate over time",
            "Grey is the truth. Where a method jumps away from it, it has lost the pulse in that "
            "window. Windows of 10 s, one every second.",
            html.images(rates),
        )


def _recording_of(waveform: Waveform) -> tuple[str, str]:
    return waveform.dataset, waveform.record


def _agreement(evaluation: Evaluation) -> str:
    from rppg.report.figures import bland_altman_figure

    parts = []
    for index, dataset in enumerate(evaluation.datasets):
        images = []
        for method in evaluation.methods:
            rows: list[Row] = [
                row
                for row in evaluation.windows or evaluation.clips
                if row.dataset == dataset and row.method == method
            ]
            figure = bland_altman_figure(rows, evaluation.methods, method) if rows else None
            if figure is not None:
                images.append(html.image(figure, f"Bland-Altman plot, {method} on {dataset}"))
        content = html.images(images, small=True)
        parts.append(html.heading(dataset) + content if index == 0 else html.fold(dataset, content))
    return html.section(
        "Agreement (Bland-Altman)",
        "Each dot is a window: its error against the heart rate. The solid line is the bias; 95 % "
        "of errors lie between the dashed lines. A slope means that the error grows with the rate.",
        *parts,
    )
