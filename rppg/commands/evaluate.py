"""`rppg evaluate`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import rppg
from rppg.atomic import atomic_path
from rppg.commands.options import Device, Json, NoCache, Workers
from rppg.commands.terminal import progress_bars, stdout, tell
from rppg.errors import InputError

if TYPE_CHECKING:
    from rppg.evaluation import Estimator, Evaluation


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
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where one into --out was killed or stopped."),
    ] = False,
    device: Device = "cpu",
    no_cache: NoCache = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Heart rate errors of checkpoints and methods on datasets with ground truth."""
    from rppg.crops.cache import cached
    from rppg.data.specs import open_datasets
    from rppg.evaluation import TOOLBOX, Journal, Protocol
    from rppg.evaluation import evaluate as run
    from rppg.models.checkpoint import digest_of
    from rppg.report import score_table
    from rppg.report.result_files import to_json

    protocols = {"default": Protocol(), "toolbox": TOOLBOX}
    if protocol not in protocols:
        raise InputError(f"no protocol {protocol!r}; choose one of {', '.join(protocols)}")
    if resume and out is None:
        raise InputError("--resume: from where? name the folder of the evaluation with --out")
    estimators = _estimators(checkpoint or [], method or [], device)
    journal = None
    if out is not None:
        given = {
            "rppg": rppg.__version__,
            "data": data,
            "subjects": subjects,
            "protocol": protocol,
            "methods": list(estimators),
            "checkpoints": [digest_of(path) for path in checkpoint or []],
        }
        journal = Journal(out / "evaluation.jsonl", given, resume)
    with progress_bars(quiet=as_json) as bars:
        recordings = open_datasets(data, split="test", subjects=subjects, progress=bars.loading)
        if not no_cache:
            recordings = cached(recordings, workers=workers, progress=bars.loading)
        result = run(
            recordings,
            estimators,
            protocols[protocol],
            progress=bars.counter("evaluation", len(recordings)),
            journal=journal,
        )
    for failure in result.failures:
        tell(f"{failure.record}: {failure.reason}", style="yellow")
    if not result.windows:
        window_s = protocols[protocol].window_s
        cause = "see the lines above" if result.failures else "give longer recordings"
        raise InputError(f"no window of {window_s:g} s could be evaluated; {cause}")
    if as_json:
        sys.stdout.write(to_json(result) + "\n")
    else:
        stdout.print(score_table(result))
    if out is not None:
        _write(out, result)
        if journal is not None:
            journal.remove()
        tell(f"Report: {out / 'report.html'}")


def _estimators(checkpoints: list[Path], names: list[str], device: str) -> "dict[str, Estimator]":
    """What to evaluate, by name; every method where nothing is asked for."""
    from rppg.devices import find_device
    from rppg.estimators.fcus import FcusEstimator, untrained
    from rppg.estimators.physnet import PeerEstimator
    from rppg.methods import METHODS
    from rppg.predict import find_estimator

    known = ["fcus", "untrained", *METHODS]
    estimators: dict[str, Estimator] = {
        str(path): find_estimator(checkpoint=path) for path in checkpoints
    }
    for name in names or ([] if checkpoints else known):
        if name not in known:
            raise InputError(f"no method {name!r}; choose one of {', '.join(known)}")
        estimators[name] = untrained() if name == "untrained" else find_estimator(name)
    where = find_device(device)
    for estimator in estimators.values():
        if isinstance(estimator, FcusEstimator | PeerEstimator):
            estimator.net.to(where)
    return estimators


def _write(folder: Path, evaluation: "Evaluation") -> None:
    from rppg.report import scores_csv, scores_latex, write_report
    from rppg.report.result_files import to_json

    write_report(folder / "report.html", evaluation)
    outputs = {
        "metrics.json": to_json(evaluation),
        "scores.csv": scores_csv(evaluation),
        "scores.tex": scores_latex(evaluation),
    }
    for name, text in outputs.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
