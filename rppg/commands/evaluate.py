"""`rppg evaluate`."""

import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

import rppg
from rppg.atomic import write_text
from rppg.commands.options import Device, Json, NoCache, Workers
from rppg.commands.terminal import print_line, print_status, progress_bars, stdout
from rppg.errors import InputError

if TYPE_CHECKING:
    from rppg.evaluation import Estimator, Evaluation, Failure, Protocol
    from rppg.signals.protocol import HeartRateSource

MOST_REASONS = 3
"""Reasons in one error message. If there are more, all are printed above it."""


def evaluate(
    data: Annotated[list[str], typer.Option(help="SPEC, see `rppg datasets`; repeatable.")],
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="A trained network, NAME=PATH or PATH; repeatable. NAME is its row."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="fcus, untrained, or a classical method, see `rppg methods`; repeatable."
        ),
    ] = None,
    subjects: Annotated[
        int, typer.Option(min=1, help="Number of test subjects per synthetic domain.")
    ] = 40,
    protocol: Annotated[
        str, typer.Option(help="default, or toolbox: that of rPPG-Toolbox.")
    ] = "default",
    window: Annotated[
        float | None,
        typer.Option(help="Length of a window in seconds; by default the protocol's, 10."),
    ] = None,
    hr: Annotated[
        str, typer.Option(help="Heart rates from the spectrum, or from the wave's peaks.")
    ] = "spectrum",
    continuity: Annotated[
        bool,
        typer.Option(
            "--continuity",
            help="Choose the heart rates of a recording's windows together: rates change slowly.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report, JSON, CSV and LaTeX.")
    ] = None,
    waves: Annotated[
        Path | None,
        typer.Option(help="Folder for the waves of each recording, a CSV file each."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Resume the evaluation in --out where it stopped."),
    ] = False,
    device: Device = "cpu",
    no_cache: NoCache = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Evaluate checkpoints and methods on datasets with ground truth."""
    from rppg.crops.cache import cached
    from rppg.data.specs import open_datasets
    from rppg.estimators.find import label_checkpoints
    from rppg.evaluation import Journal
    from rppg.evaluation import evaluate as run
    from rppg.evaluation.left_out import leave_out_without_windows
    from rppg.models.checkpoint import digest_of
    from rppg.report import score_table
    from rppg.report.result_files import to_json
    from rppg.report.table import describe_use
    from rppg.report.waves import write_waves

    chosen = _protocol(protocol, window, hr, continuity=continuity)
    if resume and out is None:
        raise InputError("--resume without --out; give the folder of the evaluation to resume")
    checkpoints = label_checkpoints(checkpoint or [])
    estimators = _find_estimators(checkpoints, method or [], device)
    if continuity:  # files with scores alone name it, too, and other rows aren't resumed
        estimators = {f"{name}, continuity": estimators[name] for name in estimators}
    journal = None
    if out is not None:
        settings = {
            "rppg": rppg.__version__,
            "data": data,
            "subjects": subjects,
            "protocol": protocol,
            "methods": list(estimators),
            "checkpoints": [digest_of(path) for path in checkpoints.values()],
            **({} if window is None else {"window_s": chosen.window_s}),
            **({} if hr == "spectrum" else {"hr": hr}),
            **({} if waves is None else {"waves": str(waves)}),
        }
        journal = Journal(out / "evaluation.jsonl", settings, resume)
    with progress_bars(quiet=as_json) as bars:
        recordings = open_datasets(data, split="test", subjects=subjects, progress=bars.loading)
        if not no_cache:
            recordings = cached(recordings, workers=workers, progress=bars.loading)
        result = run(
            recordings,
            estimators,
            chosen,
            progress=bars.counter("evaluation", len(recordings)),
            journal=journal,
            on_waves=None if waves is None else partial(write_waves, waves),
        )
    result = leave_out_without_windows(result, recordings)
    _refuse_dashes(result, chosen.window_s)
    for failure in result.failures:
        if as_json or failure.method is not None:  # the others are below the table
            _print_failure(failure)
    if out is not None:  # before printing: a closed pipe ends the process
        _write_results(out, result)
        if journal is not None:
            journal.remove()
        print_status(f"Report: {out / 'report.html'}")
    if waves is not None:
        print_status(f"Waves: {waves}")
    if as_json:
        sys.stdout.write(to_json(result) + "\n")
    else:
        stdout.print(score_table(result))
        for line in describe_use(result):
            print_line(line)


def _protocol(name: str, window_s: float | None, hr: str, *, continuity: bool) -> "Protocol":
    """Return the protocol with the options.

    Raises:
        InputError: no such protocol, or options that don't fit it.
    """
    from rppg.evaluation import TOOLBOX, Protocol

    protocols = {"default": Protocol(), "toolbox": TOOLBOX}
    if name not in protocols:
        raise InputError(f"no protocol {name!r}; choose one of {', '.join(protocols)}")
    chosen = protocols[name]
    if window_s is not None:  # windows don't overlap
        chosen = replace(chosen, window_s=window_s, stride_s=window_s)
    source = cast("HeartRateSource", hr)  # which the protocol checks
    return replace(chosen, hr=source, continuity=continuity)


def _print_failure(failure: "Failure") -> None:
    print_status(f"{failure.record}: {failure.reason}", style="yellow")


def _refuse_dashes(result: "Evaluation", window_s: float) -> None:
    """Refuse a table without a number, with the reasons.

    Raises:
        InputError: no recording has a window, or no method gives a heart rate in any.
    """
    if any(math.isfinite(row.hr_pred_bpm) for row in result.windows):
        return
    if result.windows:
        found = f"no method gave a heart rate in any of {len(result.windows)} windows"
        reasons = [failure for failure in result.failures if failure.method is not None]
    else:
        found = f"no window of {window_s:g} s could be evaluated"
        reasons = [failure for failure in result.failures if failure.method is None]
    if not reasons:
        raise InputError(f"{found}; is the face in view? Look at `rppg predict` on one of them")
    shown = "; ".join(f"{f.record}: {f.reason}" for f in reasons[:MOST_REASONS])
    if len(reasons) > MOST_REASONS:
        for failure in reasons:
            _print_failure(failure)
        shown += f"; and {len(reasons) - MOST_REASONS} more, see the lines above"
    raise InputError(f"{found}: {shown}")


def _find_estimators(
    checkpoints: Mapping[str, Path], methods: list[str], device: str
) -> "dict[str, Estimator]":
    """Return the estimators by name, with their networks on the device."""
    from rppg.devices import find_device
    from rppg.estimators import FcusEstimator, PeerEstimator, find_estimators

    estimators = find_estimators(checkpoints, methods)
    torch_device = find_device(device)
    for estimator in estimators.values():
        if isinstance(estimator, FcusEstimator | PeerEstimator):
            estimator.net.to(torch_device)
    return estimators


def _write_results(folder: Path, evaluation: "Evaluation") -> None:
    from rppg.report import scores_csv, scores_latex, write_report
    from rppg.report.result_files import to_json

    write_report(folder / "report.html", evaluation)
    outputs = {
        "metrics.json": to_json(evaluation),
        "scores.csv": scores_csv(evaluation),
        "scores.tex": scores_latex(evaluation),
    }
    for name, text in outputs.items():
        write_text(folder / name, text)
