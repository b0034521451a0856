"""The report: one HTML file that needs no network."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

from rppg.atomic import atomic_path
from rppg.evaluation import Evaluation, Row, Waveform
from rppg.report import html
from rppg.report.columns import COLUMNS, best
from rppg.report.figures import bland_altman_figure, rate_figure, waveform_figure
from rppg.report.training import TrainingLog, training_figures


def write_report(
    path: str | Path,
    evaluation: Evaluation,
    training: TrainingLog | None = None,
    *,
    title: str = "Heart rate from face video",
    settings: Mapping[str, object] | None = None,
) -> Path:
    """Write `report.html`: tables, training curves, waveforms, heart rate over time, agreement.

    The file holds its figures and refers to nothing outside of itself. It is written beside `path`
    and then moved there, so that a reader never sees half of it.

    Args:
        path: of the file; its folder is made if it is not there.
        evaluation: what to report.
        training: the log of the training run, one row a step, or None.
        title: heading of the page.
        settings: what else the reader must know to repeat the run (seed, checkpoint, version).
    """
    target = Path(path)
    document = html.page(title, list(_sections(evaluation, training, settings or {})))
    with atomic_path(target) as temporary:
        temporary.write_text(document, encoding="utf-8")
    return target


def _sections(
    evaluation: Evaluation, training: TrainingLog | None, settings: Mapping[str, object]
) -> Iterable[str]:
    yield from _headlines(evaluation)
    yield _tables(evaluation)
    curves = [
        html.image(picture, f"{name} while training") + html.paragraph(reading)
        for picture, name, reading in training_figures(training or ())
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
        yield html.section("Not evaluated", "Left out of every number above.", html.bullets(items))
    yield html.section(
        "Settings",
        "What to repeat to get these numbers.",
        html.heading("Protocol"),
        html.settings_list(evaluation.settings),
        *([html.heading("Data"), html.settings_list(_data(evaluation))] if evaluation.data else []),
        *([html.heading("Run"), html.settings_list(settings)] if settings else []),
    )


def _data(evaluation: Evaluation) -> dict[str, str]:
    """A line for each dataset; the subjects' names are in the JSON."""
    lines = {}
    for used in evaluation.data:
        line = f"split {used.split}, " if used.split else ""
        line += f"{used.n_subjects} subjects, {used.recordings} recordings"
        if used.left_out:
            line += f"; {len(used.left_out)} left out"
        lines[used.dataset] = line
    return lines


def _headlines(evaluation: Evaluation) -> Iterable[str]:
    """One sentence a dataset: which method is nearest to the truth."""
    table = evaluation.summary("windows")
    winners = best(COLUMNS[0], table)
    lines = [
        f"{scores.dataset}: {scores.method} is nearest, on average {scores.mae_bpm.value:.1f} bpm "
        f"from the truth ({scores.n} windows of {scores.n_subjects} subjects)."
        for scores in table
        if (scores.dataset, scores.group, scores.method) in winners
    ]
    if lines:
        yield html.bullets(lines)


def _tables(evaluation: Evaluation) -> str:
    window_s = evaluation.settings.get("window_s", "?")
    meanings = "; ".join(f"{column.title}: {column.meaning}" for column in COLUMNS)
    parts = [
        html.heading(f"Windows of {window_s} s"),
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
        "Lower errors and higher r and SNR are better; ★ marks the best of each dataset. After ± "
        "stands the standard error, below it a 95 % bootstrap interval over subjects; – is "
        "undefined. Coverage is the share of windows for which the method gives a heart rate.",
        *parts,
    )


def _examples(evaluation: Evaluation) -> Iterable[str]:
    methods = evaluation.methods
    waves, rates = [], []
    for (dataset, recording), group in groupby(evaluation.waveforms, _recording_of):
        examples = list(group)
        title = f"{dataset} / {recording}"
        waves.append(
            html.image(waveform_figure(examples, methods, title), f"BVP against truth, {title}")
        )
        picture = rate_figure(examples, methods, title)
        if picture is not None:
            rates.append(html.image(picture, f"Heart rate over time, {title}"))
    yield html.section(
        "Blood volume pulse against truth",
        "Grey is the contact sensor, coloured the prediction, both filtered alike and scaled to "
        "unit deviation: good predictions peak where the grey line peaks, beat by beat.",
        html.images(waves),
    )
    if rates:
        yield html.section(
            "Heart rate over time",
            "Grey is the truth: a method that follows it tracks the heart; one that jumps has lost "
            "the pulse in that window. Windows of 10 s slide by 1 s.",
            html.images(rates),
        )


def _recording_of(waveform: Waveform) -> tuple[str, str]:
    return waveform.dataset, waveform.record


def _agreement(evaluation: Evaluation) -> str:
    parts = []
    for number, dataset in enumerate(evaluation.datasets):
        pictures = []
        for method in evaluation.methods:
            rows: list[Row] = [
                row
                for row in evaluation.windows or evaluation.clips
                if row.dataset == dataset and row.method == method
            ]
            picture = bland_altman_figure(rows, evaluation.methods, method) if rows else None
            if picture is not None:
                pictures.append(html.image(picture, f"Bland-Altman plot, {method} on {dataset}"))
        shown = html.images(pictures, small=True)
        parts.append(html.heading(dataset) + shown if number == 0 else html.fold(dataset, shown))
    return html.section(
        "Agreement (Bland-Altman)",
        "One dot a window: its error against the heart rate. The solid line is the bias, between "
        "the dashed ones lie 95 % of single errors; a slope means that the error grows with the "
        "rate.",
        *parts,
    )
