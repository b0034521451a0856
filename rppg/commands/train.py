"""`rppg train`."""

import math
import reprlib
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from rppg.commands.options import Device, NoCache, Workers
from rppg.commands.terminal import (
    print_errors_only,
    print_line,
    print_status,
    progress_bars,
    stdout,
)
from rppg.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from rppg.adapt import AdaptResult
    from rppg.peers.config import PeerConfig
    from rppg.peers.train import PeerResult
    from rppg.train.config import TrainConfig
    from rppg.train.run import TrainProgress, TrainResult

    Config = TypeVar("Config", bound=BaseModel)
    Result = TypeVar("Result", AdaptResult, TrainResult, PeerResult)

MOST_PROBLEMS = 5
METHODS = ("fcus", "sinc", "contrast-phys")
BY_METHOD = "with for fcus, without for a peer"


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
        Path | None,
        typer.Option(help="TOML file with any field of TrainConfig, or PeerConfig for a peer."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="fcus, or a peer: sinc, contrast-phys.", show_default="fcus"),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Old name of --method.", hidden=True)] = None,
    adapt: Annotated[
        bool,
        typer.Option(
            "--adapt",
            help="Train on from a checkpoint. A third of the recordings is held out to check, "
            "without labels, whether that helped; unless it clearly did, the old network is kept.",
        ),
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(help="With --adapt: CHECKPOINT.safetensors.", show_default="the shipped one"),
    ] = None,
    mask: Annotated[
        bool | None,
        typer.Option(
            "--mask/--no-mask", help="With or without the gradient level.", show_default=BY_METHOD
        ),
    ] = None,
    smooth: Annotated[
        bool | None,
        typer.Option(
            "--smooth/--no-smooth",
            help="With or without the landscape level.",
            show_default=BY_METHOD,
        ),
    ] = None,
    project: Annotated[
        bool | None,
        typer.Option(
            "--project/--no-project",
            help="With or without the feature level.",
            show_default=BY_METHOD,
        ),
    ] = None,
    require_pulse: Annotated[
        bool,
        typer.Option(
            "--require-pulse",
            help="Leave out recordings in which no pulse is found. Without it they are named in a "
            "warning.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume a run into --out that was killed or stopped.")
    ] = False,
    save_every: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How often to save the state for that.")
    ] = 60.0,
    tensorboard: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for curves of the log, step by step, for TensorBoard.",
        ),
    ] = None,
    device: Device = "cpu",
    no_cache: NoCache = False,
    workers: Workers = None,
) -> None:
    """Train without labels."""
    fields = _read_toml(config) if config else {}
    method = _method(method, recipe, fields)
    options = {"data": tuple(data) if data else None, "epochs": epochs, "seed": seed}
    fields |= {name: value for name, value in options.items() if value is not None}
    if require_pulse:
        fields["require_pulse"] = True
    _switch(fields, {"mask": mask, "smooth": smooth, "project": project})
    _check_adapt(adapt, start, method, out, fields)
    if out.exists() and not out.is_dir():  # checked before the work, not after
        raise InputError(f"{out}: is a file; name a folder for --out")
    source = str(config or "options")
    common = {"out": out, "cache": not no_cache, "workers": workers}
    common |= {"resume": resume, "save_every_s": save_every, "device": device}
    from rppg.train.distributed import process_group, rank

    with process_group(device):
        if rank() > 0:
            print_errors_only()
            tensorboard = None
        if method != "fcus":
            from rppg.peers.config import PeerConfig

            peer = _validated(PeerConfig, {**fields, "method": method}, source)
            _train_peer(peer, common, tensorboard)
            return
        from rppg.train.config import TrainConfig

        settings = _validated(TrainConfig, fields, source)
        if adapt:
            _adapt(settings, start, common, tensorboard)
        else:
            _train_fcus(settings, common, tensorboard)


def _method(option: str | None, old_option: str | None, fields: dict[str, Any]) -> str:
    """Return the method by the option, else by the file's fields, from which it is removed.

    Raises:
        InputError: an unknown method, or one that is given under its old name, too.
    """
    if "recipe" in fields:
        _warn_of_old_name("recipe", "method", both="method" in fields)
        fields["method"] = fields.pop("recipe")
    if old_option is not None:
        _warn_of_old_name("--recipe", "--method", both=option is not None)
        option = old_option
    in_file = fields.pop("method", METHODS[0])
    method: str = in_file if option is None else option
    if method not in METHODS:
        raise InputError(f"no method {reprlib.repr(method)}; choose one of {', '.join(METHODS)}")
    return method


def _switch(fields: dict[str, Any], levels: dict[str, bool | None]) -> None:
    """Switch levels on, with the file's settings if it has any, or off; None is as they are."""
    for level, on in levels.items():
        if on:
            fields.setdefault(level, {})
        elif on is not None:
            fields[level] = None


def _warn_of_old_name(old: str, new: str, *, both: bool) -> None:
    if both:
        raise InputError(f"{old}: the old name of {new}, which is given, too; leave {old} out")
    print_status(f"rppg: {old} is now {new}; the old name goes in the next version")


def _check_adapt(
    adapt: bool, start: Path | None, method: str, out: Path, fields: dict[str, Any]
) -> None:
    """Raise an InputError for options that contradict each other."""
    if start is not None and not adapt:
        raise InputError(
            f"--start {start}: only an adaptation starts from a checkpoint; add --adapt"
        )
    if not adapt:
        return
    if method != METHODS[0]:
        raise InputError(
            f"--adapt: method {method} can't be adapted; leave --adapt out, or choose fcus"
        )
    if "data" not in fields:
        raise InputError("--adapt: to which recordings? name them with --data")
    if start is not None and start.resolve() == (out / "checkpoint.safetensors").resolve():
        raise InputError(
            f"--out {out}: would overwrite the checkpoint it starts from; name another folder"
        )


def _adapt(
    settings: "TrainConfig", start: Path | None, common: dict[str, Any], tensorboard: Path | None
) -> None:
    from rppg.adapt import adapt
    from rppg.models.checkpoint import SHIPPED

    function = partial(adapt, settings, start=start)
    result = _run(function, "adapt", settings, common, tensorboard, start or SHIPPED)
    if result is not None:
        print_line(result.evidence.summary())
        print_line(f"Checkpoint: {result.checkpoint}")


def _train_fcus(settings: "TrainConfig", common: dict[str, Any], tensorboard: Path | None) -> None:
    from rppg.train.run import train

    result = _run(partial(train, settings), "fcus", settings, common, tensorboard)
    if result is None:
        return
    last = result.log[-1]
    levels = [name for name in ("mask", "smooth", "project") if getattr(settings, name)]
    print_line(
        f"Levels: {', '.join(levels) or 'none'}. {len(result.log)} steps, "
        f"{last['clips_seen']:.0f} clips, {last['seconds']:.1f} s: loss "
        f"{result.log[0]['loss']:.3f} → {last['loss']:.3f}, kept {last['kept']:.0%}"
    )
    print_line(f"Checkpoint: {result.checkpoint}")


def _train_peer(settings: "PeerConfig", common: dict[str, Any], tensorboard: Path | None) -> None:
    from rppg.peers.train import train_peer

    result = _run(partial(train_peer, settings), settings.method, settings, common, tensorboard)
    if result is None:
        return
    last, best = result.log[-1], result.epochs[result.provenance["best_epoch"] - 1]
    made = [row["loss"] for row in result.log if not row.get("skipped")] or [math.nan]
    print_line(
        f"Method: {settings.method}. Levels: {', '.join(settings.levels) or 'none'}. "
        f"{len(result.log)} steps, {last['clips_seen']:.0f} clips, "
        f"{last['seconds']:.1f} s: loss {made[0]:.3g} → {made[-1]:.3g}; kept "
        f"epoch {best.epoch} of {len(result.epochs)}, with the lowest criterion, "
        f"{best.criterion:.3f}"
    )
    if settings.mask is not None:
        scores, rejected = result.provenance["scores"], result.provenance["rejected"]
        print_line(
            f"Mask: rejected {len(rejected)} of {len(scores)} recordings; "
            f"{result.provenance['skipped_steps']} steps skipped"
        )
    print_line(f"Checkpoint: {result.checkpoint}")


def _run(
    function: "Callable[..., Result]",
    method: str,
    settings: "TrainConfig | PeerConfig",
    common: dict[str, Any],
    tensorboard: Path | None,
    start: Path | None = None,
) -> "Result | None":
    """Train with progress bars, and curves for TensorBoard if there is a folder for them; print how
    many recordings were left out.

    Returns:
        The result; None if there is a finished run, and nothing to resume.
    """
    from rppg.train.resume import STATE_FILE, is_finished, settings_of

    out = common["out"]
    if common["resume"] and is_finished(out, settings_of(method, settings, start)):
        print_line(f"Finished already: {out / 'checkpoint.safetensors'}")
        return None
    try:
        with _curves(tensorboard, settings) as write, progress_bars() as bars:

            def progress(step: "TrainProgress") -> None:
                write(step)
                bars.training(step)

            result = function(progress=progress, loading=bars.loading, **common)
    except (KeyboardInterrupt, SystemExit):
        if not stdout.quiet and (out / STATE_FILE).exists():
            print_status(
                f"Stopped. The same command with --resume continues from {out / STATE_FILE}"
            )
        raise
    if result.skipped:
        print_line(f"Left out: {len(result.skipped)} recordings, named above")
    return result


@contextmanager
def _curves(
    folder: Path | None, settings: "TrainConfig | PeerConfig"
) -> "Iterator[Callable[[TrainProgress], object]]":
    """Yield a function that writes a step for TensorBoard; it does nothing without a folder."""
    if folder is None:
        yield lambda _: None
        return
    from rppg.report.tensorboard_log import tensorboard_log

    with tensorboard_log(folder, settings) as write:
        yield write


def _validated(model: "type[Config]", fields: dict[str, Any], source: str) -> "Config":
    """Return the configuration.

    Raises:
        InputError: naming each wrong field, its value and what was expected.
    """
    from pydantic import ValidationError

    try:
        return model.model_validate(fields)
    except RecursionError as error:
        raise InputError(f"{source}: nested too deeply; see TrainConfig for the fields") from error
    except ValidationError as error:
        problems = "; ".join(
            # a problem between fields has no location
            (
                f"{'.'.join(map(str, problem['loc']))} = {reprlib.repr(problem['input'])}: "
                if problem["loc"]
                else ""
            )
            + problem["msg"]
            for problem in error.errors()[:MOST_PROBLEMS]
        )
        if error.error_count() > MOST_PROBLEMS:
            problems += f"; and {error.error_count() - MOST_PROBLEMS} more"
        raise InputError(f"{source}: {problems}") from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a readable TOML file ({error})") from error
