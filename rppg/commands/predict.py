"""`rppg predict`."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rppg.captured_warnings import capture_warnings
from rppg.commands.options import Json
from rppg.commands.terminal import complain, say, say_json
from rppg.errors import InputError

if TYPE_CHECKING:
    from rppg.predict import Prediction


def predict(
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Video files.")],
    method: Annotated[
        str, typer.Option(help="fcus or a classical method; see `rppg methods`.")
    ] = "fcus",
    checkpoint: Annotated[
        Path | None, typer.Option(help="A network of yours, in place of the shipped one.")
    ] = None,
    as_json: Json = False,
    bvp: Annotated[bool, typer.Option("--bvp", help="The pulse wave in the JSON, too.")] = False,
    csv: Annotated[
        Path | None, typer.Option(help="Heart rate over time as CSV; one video only.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Picture of pulse and rate (PNG, SVG, PDF); one video only.")
    ] = None,
    box: Annotated[
        str | None, typer.Option(help="Face as x,y,w,h in pixels, forehead to chin.")
    ] = None,
    full_frame: Annotated[
        bool, typer.Option("--full-frame", help="The whole picture is the face.")
    ] = False,
    skin: Annotated[
        bool, typer.Option("--skin", help="Classical methods: only the face's skin, by colour.")
    ] = False,
    start: Annotated[float, typer.Option(min=0, help="Where to start, seconds.")] = 0.0,
    duration: Annotated[float | None, typer.Option(help="How much to read, seconds.")] = None,
) -> None:
    """Heart rate of videos: of the whole clip and over time, with a quality index."""
    from rppg.predict import find_estimator
    from rppg.predict import predict as run
    from rppg.report.prediction import check_plot_path, plot_prediction, write_rates

    if (csv or plot) and len(videos) > 1:
        raise InputError(f"--csv and --plot take one video, {len(videos)} were given; use --json")
    for output in (csv, plot):
        if output is not None and output.resolve() in {video.resolve() for video in videos}:
            raise InputError(f"{output}: is the video itself; name another file for the output")
    if plot is not None:
        check_plot_path(plot)
    face = _parse_box(box)
    estimator = find_estimator(method, checkpoint, skin=skin)
    results: list[dict[str, Any]] = []
    failed = False
    for video in videos:
        try:
            with _warnings_of_what_works():
                found = run(
                    video,
                    estimator=estimator,
                    box=face,
                    full_frame=full_frame,
                    start_s=start,
                    duration_s=duration,
                )
        except InputError as error:
            failed = True
            message = str(error)
            if str(video) not in message:  # such as of a network for other channels
                message = f"{video}: {message}"
            results.append({"path": str(video), "error": message})
            complain(message)
            continue
        results.append({"path": str(video), "method": method, **found.to_json(bvp=bvp)})
        if not as_json:
            _print_prediction(video, found)
        if csv:
            write_rates(csv, found)
        if plot:
            plot_prediction(plot, found, title=video.name)
    if as_json:
        say_json({"videos": results})
    if failed:
        raise typer.Exit(2)


@contextmanager
def _warnings_of_what_works() -> Iterator[None]:
    """Holds warnings back until the work is done; after an error, its one line says enough."""
    told: Sequence[logging.LogRecord] = ()
    try:
        with capture_warnings() as told:
            yield
    except InputError:
        told = ()
        raise
    finally:
        for recording in told:
            logging.getLogger("rppg").handle(recording)


def _print_prediction(video: Path, found: "Prediction") -> None:
    trust = "" if found.reliable else "  (no reliable pulse: quality under 0.5)"
    say(f"{video}: {found.hr_bpm:.1f} bpm, quality {found.quality:.2f}{trust}")
    course = found.course
    for start, end, hr, index in zip(
        course.start_s, course.end_s, course.hr_bpm, course.quality, strict=True
    ):
        say(f"  {start:6.1f}–{end:6.1f} s  {hr:6.1f} bpm  quality {index:.2f}")
    if found.hrv is not None:
        hrv = found.hrv
        say(f"  heart rate variability: RMSSD {hrv.rmssd_ms:.0f} ms, SDNN {hrv.sdnn_ms:.0f} ms")


def _parse_box(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--box {text!r}: give four numbers, x,y,w,h, in pixels") from error
    return x, y, width, height
