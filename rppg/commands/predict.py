"""`rppg predict`."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rppg.captured_warnings import capture_warnings
from rppg.commands.box import Box, parse_box
from rppg.commands.options import Checkpoint, FullFrame, Json, Method
from rppg.commands.terminal import print_error, print_json, print_line
from rppg.errors import InputError

if TYPE_CHECKING:
    from rppg.predict import Prediction


def predict(
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Video files.")],
    method: Method = "fcus",
    checkpoint: Checkpoint = None,
    as_json: Json = False,
    bvp: Annotated[bool, typer.Option("--bvp", help="Include the pulse wave in the JSON.")] = False,
    csv: Annotated[
        Path | None, typer.Option(help="Write heart rate over time as CSV; one video only.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Plot pulse and heart rate (PNG, SVG, PDF); one video only.")
    ] = None,
    box: Box = None,
    full_frame: FullFrame = False,
    skin: Annotated[
        bool,
        typer.Option(
            "--skin", help="Use only pixels of the colour of skin; for classical methods."
        ),
    ] = False,
    start: Annotated[float, typer.Option(min=0, help="Time to start at, in seconds.")] = 0.0,
    duration: Annotated[
        float | None, typer.Option(help="Length of the part to read, in seconds.")
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(help="Frame rate of files that have a wrong one or none, such as raw H.264."),
    ] = None,
) -> None:
    """Measure the heart rate in videos: of the whole clip and over time, with a quality index."""
    from rppg.predict import find_estimator
    from rppg.predict import predict as run

    if (csv or plot) and len(videos) > 1:
        raise InputError(f"--csv and --plot take one video, {len(videos)} were given; use --json")
    for output in (csv, plot):
        if output is not None and output.resolve() in {video.resolve() for video in videos}:
            raise InputError(f"{output}: is the video itself; name another file for the output")
    writers = _writers(csv, plot)
    face = parse_box(box)
    estimator = find_estimator(method, checkpoint, skin=skin)
    results: list[dict[str, Any]] = []
    failed = False
    for video in videos:
        try:
            with _warnings_unless_error():
                prediction = run(
                    video,
                    estimator=estimator,
                    box=face,
                    full_frame=full_frame,
                    start_s=start,
                    duration_s=duration,
                    fps=fps,
                )
        except InputError as error:
            failed = True
            message = str(error)
            if str(video) not in message:  # such as an error of the estimator
                message = f"{video}: {message}"
            results.append({"path": str(video), "error": message})
            print_error(message)
            continue
        results.append({"path": str(video), "method": method, **prediction.to_json(bvp=bvp)})
        try:
            for write in writers:  # before printing: a closed pipe ends the process
                write(video, prediction)
        finally:
            if not as_json:
                _print_prediction(video, prediction)
    if as_json:
        print_json({"videos": results})
    if failed:
        raise typer.Exit(2)


def _writers(csv: Path | None, plot: Path | None) -> "list[Callable[[Path, Prediction], None]]":
    """Return the functions that write the requested files of a video's prediction."""
    if csv is None and plot is None:
        return []  # without the import of Matplotlib
    from rppg.report.prediction import check_plot_path, plot_prediction, write_rates

    writers: list[Callable[[Path, Prediction], None]] = []
    if csv is not None:
        writers.append(lambda _, prediction: write_rates(csv, prediction))
    if plot is not None:
        check_plot_path(plot)
        writers.append(
            lambda video, prediction: plot_prediction(plot, prediction, title=video.name)
        )
    return writers


@contextmanager
def _warnings_unless_error() -> Iterator[None]:
    """Delay warnings to the end, and drop them after an InputError: its line is enough."""
    captured: Sequence[logging.LogRecord] = ()
    try:
        with capture_warnings() as captured:
            yield
    except InputError:
        captured = ()
        raise
    finally:
        for record in captured:
            logging.getLogger("rppg").handle(record)


def _print_prediction(video: Path, prediction: "Prediction") -> None:
    note = "" if prediction.reliable else f"  (no reliable pulse: {prediction.reason})"
    rate = "no rate" if isnan(prediction.hr_bpm) else f"{prediction.hr_bpm:.1f} bpm"
    print_line(f"{video}: {rate}, quality {prediction.quality:.2f}{note}")
    rates = prediction.rates
    for start, end, hr, index, reason in zip(
        rates.start_s, rates.end_s, rates.hr_bpm, rates.quality, prediction.reasons, strict=True
    ):
        note = "" if reason is None else f"  ({reason})"
        rate = "no rate   " if isnan(hr) else f"{hr:6.1f} bpm"
        print_line(f"  {start:6.1f}–{end:6.1f} s  {rate}  quality {index:.2f}{note}")
    if prediction.hrv is not None:
        hrv = prediction.hrv
        rmssd = _describe_variability(hrv.rmssd_ms, hrv.rmssd_uncertainty_ms)
        sdnn = _describe_variability(hrv.sdnn_ms, hrv.sdnn_uncertainty_ms)
        print_line(f"  heart rate variability: RMSSD {rmssd}, SDNN {sdnn}")


def _describe_variability(value_ms: float | None, uncertainty_ms: float | None) -> str:
    if value_ms is None:
        return "lost in noise"
    return f"{value_ms:.0f} ms" + ("" if uncertainty_ms is None else f" ± {uncertainty_ms:.0f}")
