"""`rppg train`."""

import reprlib
import tomllib
from collections.abc import Callable
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
    from rppg.train.run import TrainResult

    Config = TypeVar("Config", bound=BaseModel)
    Result = TypeVar("Result", AdaptResult, TrainResult, PeerResult)

MOST_PROBLEMS = 5
RECIPES = ("fcus", "sinc", "contrast-phys")


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
    recipe: Annotated[
        str | None,
        typer.Option(help="fcus, or a peer: sinc, contrast-phys.", show_default="fcus"),
    ] = None,
    adapt: Annotated[
        bool,
        typer.Option(
            "--adapt",
            help="Train on from a checkpoint; a third of the recordings, held out, tells without "
            "labels whether that helped: if not clearly, the old network is kept.",
        ),
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(help="With --adapt: CHECKPOINT.safetensors.", show_default="the shipped one"),
    ] = None,
    no_mask: Annotated[bool, typer.Option("--no-mask", help="Without the gradient level.")] = False,
    no_smooth: Annotated[
        bool, typer.Option("--no-smooth", help="Without the landscape level.")
    ] = False,
    no_project: Annotated[
        bool, typer.Option("--no-project", help="Without the feature level.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where a run into --out was killed or stopped.")
    ] = False,
    save_every: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How often to keep the state for that.")
    ] = 60.0,
    device: Device = "cpu",
    no_cache: NoCache = False,
    workers: Workers = None,
) -> None:
    """Train without labels."""
    given: dict[str, Any] = _read_toml(config) if config else {}
    options = {
        "recipe": recipe,
        "data": tuple(data) if data else None,
        "epochs": epochs,
        "seed": seed,
    }
    given |= {name: value for name, value in options.items() if value is not None}
    chosen = given.setdefault("recipe", RECIPES[0])
    if chosen not in RECIPES:
        raise InputError(f"no recipe {reprlib.repr(chosen)}; choose one of {', '.join(RECIPES)}")
    off = [
        level
        for level, left_out in (("mask", no_mask), ("smooth", no_smooth), ("project", no_project))
        if left_out
    ]
    if off and chosen != "fcus":
        raise InputError(
            f"--no-{off[0]}: recipe {chosen} has no such level; leave it out, or train fcus"
        )
    _check_adapt(adapt, start, chosen, out, given)
    if out.exists() and not out.is_dir():  # told before the work, not after
        raise InputError(f"{out}: is a file; name a folder for --out")
    source = str(config or "options")
    how = {"out": out, "cache": not no_cache, "workers": workers}
    how |= {"resume": resume, "save_every_s": save_every, "device": device}
    from rppg.devices import find_device
    from rppg.train.distributed import joined, rank

    find_device(device)  # told before the work, not after
    with joined(device):
        if rank() > 0:
            print_errors_only()
        if chosen == "fcus":
            from rppg.train.config import TrainConfig

            del given["recipe"]
            settings = _validated(TrainConfig, given | dict.fromkeys(off), source)
            if adapt:
                _adapt(settings, start, how)
            else:
                _train_fcus(settings, how)
        else:
            from rppg.peers.config import PeerConfig

            _train_peer(_validated(PeerConfig, given, source), how)


def _check_adapt(
    adapt: bool, start: Path | None, recipe: str, out: Path, given: dict[str, Any]
) -> None:
    """Refuse what makes no sense together."""
    if start is not None and not adapt:
        raise InputError(
            f"--start {start}: only an adaptation starts from a checkpoint; add --adapt"
        )
    if not adapt:
        return
    if recipe != RECIPES[0]:
        raise InputError(
            f"--adapt: recipe {recipe} can't be adapted; leave --adapt out, or choose fcus"
        )
    if "data" not in given:
        raise InputError("--adapt: to which recordings? name them with --data")
    if start is not None and start.resolve() == (out / "checkpoint.safetensors").resolve():
        raise InputError(
            f"--out {out}: would overwrite the checkpoint it starts from; name another folder"
        )


def _adapt(settings: "TrainConfig", start: Path | None, how: dict[str, Any]) -> None:
    from rppg.adapt import adapt
    from rppg.models.checkpoint import SHIPPED

    result = _run(partial(adapt, settings, start=start), "adapt", settings, how, start or SHIPPED)
    if result is not None:
        print_line(result.evidence.told())
        print_line(f"Checkpoint: {result.checkpoint}")


def _train_fcus(settings: "TrainConfig", how: dict[str, Any]) -> None:
    from rppg.train.run import train as run

    result = _run(partial(run, settings), "fcus", settings, how)
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


def _train_peer(settings: "PeerConfig", how: dict[str, Any]) -> None:
    from rppg.peers.train import train_peer

    result = _run(partial(train_peer, settings), settings.recipe, settings, how)
    if result is None:
        return
    last, kept = result.log[-1], result.epochs[result.made["best_epoch"] - 1]
    print_line(
        f"Recipe: {settings.recipe}. {len(result.log)} steps, {last['clips_seen']:.0f} clips, "
        f"{last['seconds']:.1f} s: loss {result.log[0]['loss']:.3g} → {last['loss']:.3g}; kept is "
        f"epoch {kept.epoch} of {len(result.epochs)}, with the least criterion, "
        f"{kept.criterion:.3f}"
    )
    print_line(f"Checkpoint: {result.checkpoint}")


def _run(
    run: "Callable[..., Result]",
    recipe: str,
    settings: "BaseModel",
    how: dict[str, Any],
    start: Path | None = None,
) -> "Result | None":
    """Run with progress bars, and tell how many recordings were left out; None: it is over."""
    from rppg.train.run import STATE_FILE, is_finished, settings_of

    out = how["out"]
    if how["resume"] and is_finished(out, settings_of(recipe, settings, start)):
        print_line(f"Finished already: {out / 'checkpoint.safetensors'}")
        return None
    try:
        with progress_bars() as bars:
            result = run(progress=bars.training, loading=bars.loading, **how)
    except (KeyboardInterrupt, SystemExit):
        if not stdout.quiet and (out / STATE_FILE).exists():
            print_status(f"Stopped. The same command with --resume goes on from {out / STATE_FILE}")
        raise
    if result.skipped:
        print_line(f"Left out: {len(result.skipped)} recordings, named above")
    return result


def _validated(model: "type[Config]", given: dict[str, Any], source: str) -> "Config":
    """The configuration; else each field that is wrong, what was there and what was expected."""
    from pydantic import ValidationError

    try:
        return model.model_validate(given)
    except RecursionError as error:
        raise InputError(f"{source}: nested too deeply; see TrainConfig for the fields") from error
    except ValidationError as error:
        problems = "; ".join(
            # what is wrong between fields has no place of its own
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
