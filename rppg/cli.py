"""The command line. Results go to stdout; progress, warnings and errors to stderr.

Exit codes: 0 done, 2 bad usage or bad input, 130 interrupted, 1 a bug.
"""

import json
import logging
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rppg.errors import InputError

if TYPE_CHECKING:
    from pydantic import ValidationError

    from rppg.evaluation import Evaluation
    from rppg.predict import Prediction
    from rppg.train import TrainProgress

# Each command imports what it needs, so that `rppg --help` does not wait for torch.

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
)
stdout = Console()
stderr = Console(stderr=True)

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""What typer raises for a wrong command line; it doesn't export the class."""

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
Seed = Annotated[int, typer.Option(help="Random seed: the same seed gives the same result.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes that read videos; as many as CPUs by default.")
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Read the videos; neither use nor keep stored crops.")
]


def _show_version(asked: bool) -> None:
    if asked:
        _say(f"rppg {version('gradreg')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _common(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Say which it is."),
    ] = False,
) -> None:
    """The pulse from face video, learned without labels (FCUS-rPPG). Not a medical device."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for report, metrics and checkpoint.")] = Path(
        "runs/demo"
    ),
    seed: Seed = 0,
    quick: Annotated[bool, typer.Option("--quick", help="A tenth of the data.")] = False,
) -> None:
    """Train one epoch on a synthetic camera; evaluate on all; write a report."""
    from rppg.demo import demo as run

    with _bars() as bars:
        result = run(out, seed=seed, quick=quick, stage=bars.stage, progress=bars.step)
    _print_table(result.evaluation)
    gain = result.gain
    _say(
        f"Trained less untrained on the training camera: {gain.mean_bpm:+.2f} bpm, 95 % interval "
        f"over {gain.n_subjects} subjects {gain.low_bpm:+.2f} to {gain.high_bpm:+.2f}."
    )
    _say(f"Report: {result.report}")


@app.command()
def train(
    data: Annotated[
        list[str] | None, typer.Option(help="SPEC, see `rppg datasets`; repeatable.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint and log.")] = Path(
        "runs/train"
    ),
    config: Annotated[
        Path | None, typer.Option(help="TOML file with any field of TrainConfig.")
    ] = None,
    no_mask: Annotated[bool, typer.Option("--no-mask", help="Without the gradient level.")] = False,
    no_smooth: Annotated[
        bool, typer.Option("--no-smooth", help="Without the landscape level.")
    ] = False,
    no_project: Annotated[
        bool, typer.Option("--no-project", help="Without the feature level.")
    ] = False,
    no_cache: NoCache = False,
    workers: Workers = None,
) -> None:
    """Train without labels."""
    from pydantic import ValidationError

    from rppg.train import train as run
    from rppg.training.config import TrainConfig

    given: dict[str, Any] = _read_toml(config) if config else {}
    options = {"data": tuple(data) if data else None, "epochs": epochs, "seed": seed}
    given |= {name: value for name, value in options.items() if value is not None}
    for level, off in (("mask", no_mask), ("smooth", no_smooth), ("project", no_project)):
        if off:
            given[level] = None
    try:
        settings = TrainConfig.model_validate(given)
    except ValidationError as error:
        raise InputError(f"{config or 'options'}: {_problems(error)}") from error
    if out.exists() and not out.is_dir():  # told before the work, not after
        raise InputError(f"{out}: is a file; name a folder for --out")
    with _bars() as bars:
        result = run(
            settings,
            out=out,
            progress=bars.step,
            loading=bars.loading,
            cache=not no_cache,
            workers=workers,
        )
    if result.skipped:
        _say(f"Left out: {len(result.skipped)} recordings, named above")
    last = result.log[-1]
    levels = [name for name in ("mask", "smooth", "project") if getattr(settings, name)]
    _say(
        f"Levels: {', '.join(levels) or 'none'}. {len(result.log)} steps, "
        f"{last['clips_seen']:.0f} clips, {last['seconds']:.1f} s: loss "
        f"{result.log[0]['loss']:.3f} → {last['loss']:.3f}, kept {last['kept']:.0%}"
    )
    _say(f"Checkpoint: {result.checkpoint}")


@app.command()
def evaluate(
    data: Annotated[list[str], typer.Option(help="SPEC, see `rppg datasets`; repeatable.")],
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="A trained network; repeatable.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="A classical method or `untrained`; repeatable.")
    ] = None,
    subjects: Annotated[int, typer.Option(min=1, help="Test subjects per synthetic domain.")] = 40,
    protocol: Annotated[str, typer.Option(help="default or toolbox.")] = "default",
    out: Annotated[Path | None, typer.Option(help="Folder for report, JSON and CSV.")] = None,
    no_cache: NoCache = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Heart rate errors of checkpoints and methods on datasets with ground truth."""
    from rppg.data.cache import cached
    from rppg.data.specs import open_datasets
    from rppg.evaluation import TOOLBOX, Protocol, to_json
    from rppg.evaluation import evaluate as run
    from rppg.methods import METHODS
    from rppg.models.estimator import untrained
    from rppg.predict import find_estimator
    from rppg.report import scores_csv, scores_latex, write_report

    protocols = {"default": Protocol(), "toolbox": TOOLBOX}
    if protocol not in protocols:
        raise InputError(f"no protocol {protocol!r}; choose one of {', '.join(protocols)}")
    estimators: dict[str, Any] = {}
    for path in checkpoint or []:
        estimators[str(path)] = find_estimator(checkpoint=path)
    for name in method or ([] if checkpoint else ["fcus", "untrained", *METHODS]):
        if name not in {"fcus", "untrained", *METHODS}:
            raise InputError(
                f"no method {name!r}; choose one of fcus, untrained, {', '.join(METHODS)}"
            )
        estimators[name] = untrained() if name == "untrained" else find_estimator(name)
    with _bars() as bars:
        records = open_datasets(data, split="test", subjects=subjects, progress=bars.loading)
        if not no_cache:
            records = cached(records, workers=workers, progress=bars.loading)
        result = run(records, estimators, protocols[protocol], progress=bars.counter(len(records)))
    for failure in result.failures:
        _tell(f"{failure.record}: {failure.reason}", style="yellow")
    if not result.windows:
        window_s = protocols[protocol].window_s
        cause = "see the lines above" if result.failures else "give longer recordings"
        raise InputError(f"no window of {window_s:g} s could be evaluated; {cause}")
    if as_json:
        sys.stdout.write(to_json(result) + "\n")
    else:
        _print_table(result)
    if out is not None:
        from rppg.atomic import atomic_path

        write_report(out / "report.html", result)
        outputs = {
            "metrics.json": to_json(result),
            "scores.csv": scores_csv(result),
            "scores.tex": scores_latex(result),
        }
        for name, text in outputs.items():
            with atomic_path(out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        _tell(f"Report: {out / 'report.html'}")


@app.command()
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
    from rppg.output import check_plot_path, plot_prediction, write_course
    from rppg.predict import find_estimator
    from rppg.predict import predict as run

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
            results.append({"path": str(video), "error": str(error)})
            _complain(error)
            continue
        results.append({"path": str(video), "method": method, **found.to_json(bvp=bvp)})
        if not as_json:
            _print_prediction(video, found)
        if csv:
            write_course(csv, found)
        if plot:
            plot_prediction(plot, found, title=video.name)
    if as_json:
        sys.stdout.write(json.dumps({"videos": results}) + "\n")
    if failed:
        raise typer.Exit(2)


@app.command()
def synthesize(
    domain: Annotated[str, typer.Option(help="A synthetic domain, see `rppg datasets`.")],
    out: Annotated[
        Path, typer.Option(help="The video, ground truth beside it; or the dataset's folder.")
    ],
    subject: Annotated[int, typer.Option(min=0, help="Which person; or the first of them.")] = 0,
    subjects: Annotated[
        int | None, typer.Option(min=1, help="How many people: writes a dataset.")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(help="Of the dataset: ubfc-rppg, pure, ...; by default what it mirrors."),
    ] = None,
    duration: Annotated[float, typer.Option(min=5, max=600, help="Length in seconds.")] = 20.0,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Render a synthetic person as a video file, or several as a dataset in a public layout."""
    if subjects is None and layout is None:
        _write_scene(domain, subject, out, duration, force=force)
        return
    from rppg.data.synthetic import write_dataset

    if force:
        raise InputError("--force replaces a video only; a dataset needs an --out that is new")
    with _bars() as bars:
        spec = write_dataset(
            domain,
            out,
            layout=layout,
            subjects=subjects or 1,
            first=subject,
            duration_s=duration,
            progress=bars.loading,
        )
    _say(spec)


def _write_scene(domain: str, subject: int, out: Path, duration_s: float, *, force: bool) -> None:
    from rppg.synthetic.scene import truth_path, write_scene

    there = [file for file in (out, truth_path(out)) if file.is_file()]
    if there and not force:
        names = " and ".join(map(str, there))
        raise InputError(f"{names}: exists already; choose another --out, or replace with --force")
    scene = write_scene(domain, subject, out, duration_s=duration_s)
    box = ",".join(map(str, scene.box))
    _say(f"{scene.video} (face at rest: --box {box}), ground truth {scene.truth}")


@app.command()
def check(
    data: Annotated[list[str], typer.Argument(metavar="SPEC...", help="See `rppg datasets`.")],
    subjects: Annotated[int, typer.Option(min=1, help="Subjects per synthetic domain.")] = 40,
    as_json: Json = False,
) -> None:
    """Read every recording and list what is wrong; exit code 2 if anything is."""
    from dataclasses import asdict

    from rppg.data.check import check_record
    from rppg.data.specs import open_datasets

    told: list[dict[str, Any]] = []
    with _bars() as bars:
        records = open_datasets(data, split="train", subjects=subjects, progress=bars.loading)
        count = bars.counter(len(records), "check")
        for record in records:
            defects = check_record(record)
            told.append(
                {
                    "dataset": record.dataset,
                    "record": record.name,
                    "subject": record.subject,
                    "metadata": dict(record.metadata),
                    "usable": not any(defect.fatal for defect in defects),
                    "defects": [asdict(defect) for defect in defects],
                }
            )
            if not as_json:
                for defect in defects:
                    use = "can't be used" if defect.fatal else "used as far as it goes"
                    _say(f"{record.name}  {defect.kind}  {use}  {defect.message}")
                if not defects:
                    _say(f"{record.name}  ok")
            count(record)
    wrong = sum(bool(entry["defects"]) for entry in told)
    lost = sum(not entry["usable"] for entry in told)
    if as_json:
        sys.stdout.write(json.dumps({"records": told}) + "\n")
    else:
        _say(f"{len(told)} recordings: {wrong} with defects, {lost} of them can't be used")
    if wrong:
        raise typer.Exit(2)


@app.command()
def cache(
    data: Annotated[list[str], typer.Argument(metavar="SPEC...", help="See `rppg datasets`.")],
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Every N-th recording only, from the I-th on.")
    ] = "1/1",
    workers: Workers = None,
    subjects: Annotated[int, typer.Option(min=1, help="Subjects per synthetic domain.")] = 40,
    as_json: Json = False,
) -> None:
    """Read videos into the cache, which `train` and `evaluate` use; exit code 2 if any fails."""
    from rppg.data.cache import store
    from rppg.data.cropkey import crops_folder
    from rppg.data.specs import open_shard

    with _bars() as bars:
        records = open_shard(data, shard, split="train", subjects=subjects, progress=bars.loading)
        stored = store(records, workers=workers, progress=bars.loading, verify=True)
    failures = [
        {"dataset": records[place].dataset, "record": records[place].name, "reason": reason}
        for place, reason in stored.failed.items()
    ]
    if as_json:
        told = {"folder": str(crops_folder()), "ready": stored.ready, "built": stored.built}
        sys.stdout.write(json.dumps({**told, "failed": failures}) + "\n")
    else:
        for failure in failures:
            _tell(f"{failure['record']}: {failure['reason']}", style="yellow")
        _say(
            f"{stored.ready} ready, {stored.built} built, {len(failures)} failed: {crops_folder()}"
        )
    if failures:
        raise typer.Exit(2)


@app.command()
def datasets() -> None:
    """The datasets that can be named."""
    from rppg.data.catalogue import DATASETS
    from rppg.synthetic.domains import DOMAINS

    for domain in DOMAINS.values():
        cameras = f"{len(domain.cameras)} camera{'s' if len(domain.cameras) > 1 else ''}"
        _say(
            f"synthetic:{domain.name}  {domain.key}, mirrors {domain.mirrors}: "
            f"{cameras}, {domain.fps:g} Hz, {domain.hr_bpm[0]:g}–{domain.hr_bpm[1]:g} bpm; MIT",
        )
    for name, dataset in DATASETS.items():
        filters = f"; filters: {', '.join(dataset.filters)}" if dataset.filters else ""
        note = f"; {dataset.note}" if dataset.note else ""
        _say(f"{name}:PATH  {dataset.title}: {dataset.layout}{filters}{note}")
    _say("FOLDER or VIDEO  videos without ground truth, for training")
    _say(
        "NAME:PATH?KEY=VALUE,VALUE&KEY=VALUE  only these; split=train, validation or test: by "
        "subject; face=detect, full, or x,y,w,h"
    )


@app.command()
def methods() -> None:
    """The methods that can be named, with their papers."""
    from rppg.methods import METHODS

    _say("fcus  FCUS-rPPG, arXiv 2606.03050: the shipped network, or --checkpoint")
    for method in METHODS.values():
        _say(f"{method.name}  {method.paper}. {method.description}")


class _Bars:
    """Progress bars on stderr; plain silence where stderr is no terminal."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.tasks: dict[str, Any] = {}

    def stage(self, what: str, done: int, total: int) -> None:
        if what not in self.tasks:
            self.tasks[what] = self.progress.add_task(what, total=total)
        self.progress.update(self.tasks[what], completed=done, total=total)

    def loading(self, done: int, total: int) -> None:
        self.stage("recordings", done, total)

    def step(self, state: "TrainProgress") -> None:
        what = "training"
        self.stage(what, state.step, state.steps)
        row = state.row
        speed = row["clips_seen"] / max(row["seconds"], 1e-9)
        self.progress.update(
            self.tasks[what],
            description=f"training, loss {row['loss']:.3f}, kept {row['kept']:.0%}, "
            f"{speed:.1f} clips/s",
        )

    def counter(self, total: int, what: str = "evaluation") -> Any:
        done = 0

        def count(_: object) -> None:
            nonlocal done
            done += 1
            self.stage(what, done, total)

        return count


@contextmanager
def _bars() -> Iterator[_Bars]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=stderr, disable=not stderr.is_terminal
    ) as progress:
        yield _Bars(progress)


@contextmanager
def _warnings_of_what_works() -> Iterator[None]:
    """Holds warnings back until the work is done; after an error, its one line says enough."""
    logger = logging.getLogger("rppg")
    held = BufferingHandler(capacity=10_000)
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(held)
    try:
        yield
    except InputError:
        held.buffer.clear()
        raise
    finally:
        logger.removeHandler(held)
        logger.propagate = propagate
        for record in held.buffer:
            logger.handle(record)


def _print_table(evaluation: "Evaluation") -> None:
    from rppg.report import score_table

    stdout.print(score_table(evaluation))


def _print_prediction(video: Path, found: "Prediction") -> None:
    trust = "" if found.reliable else "  (no reliable pulse: quality under 0.5)"
    _say(f"{video}: {found.hr_bpm:.1f} bpm, quality {found.quality:.2f}{trust}")
    course = found.course
    for start, end, hr, index in zip(
        course.start_s, course.end_s, course.hr_bpm, course.quality, strict=True
    ):
        _say(f"  {start:6.1f}–{end:6.1f} s  {hr:6.1f} bpm  quality {index:.2f}")
    if found.hrv is not None:
        hrv = found.hrv
        _say(f"  heart rate variability: RMSSD {hrv.rmssd_ms:.0f} ms, SDNN {hrv.sdnn_ms:.0f} ms")


def _parse_box(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--box {text!r}: give four numbers, x,y,w,h, in pixels") from error
    return x, y, width, height


def _problems(error: "ValidationError") -> str:
    """Each field that is wrong, what was found there and what was expected, on one line."""
    return "; ".join(
        f"{'.'.join(map(str, problem['loc']))} = {problem['input']!r}: {problem['msg']}"
        for problem in error.errors()
    )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable TOML file ({error})") from error


def _say(text: str, console: Console = stdout, style: str | None = None) -> None:
    """A line on stdout, to the letter: paths may hold what rich takes for markup."""
    console.print(text, style=style, soft_wrap=True, markup=False, highlight=False, emoji=False)


def _tell(text: str, style: str | None = None) -> None:
    """A line on stderr, to the letter."""
    _say(text, stderr, style)


def _complain(error: InputError) -> None:
    _tell(f"rppg: {error}", style="red")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    logging.basicConfig(format="rppg: %(message)s", level=logging.WARNING)
    logging.captureWarnings(True)
    try:
        code = app(args=arguments, prog_name="rppg", standalone_mode=False)
    except UsageError as error:
        told: Any = error
        message = " ".join(told.format_message().split()).rstrip(".")
        _complain(InputError(f"{message}; see {told.ctx.command_path} --help"))
        sys.exit(2)
    except InputError as error:
        _complain(error)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:
            raise
        _complain(InputError(f"{error.filename}: {error.strerror}; choose another path"))
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
