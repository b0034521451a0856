"""`rppg train`."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rppg.commands.options import NoCache, Workers
from rppg.commands.terminal import progress_bars, say
from rppg.errors import InputError

if TYPE_CHECKING:
    from pydantic import ValidationError


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
    with progress_bars() as bars:
        result = run(
            settings,
            out=out,
            progress=bars.training,
            loading=bars.loading,
            cache=not no_cache,
            workers=workers,
        )
    if result.skipped:
        say(f"Left out: {len(result.skipped)} recordings, named above")
    last = result.log[-1]
    levels = [name for name in ("mask", "smooth", "project") if getattr(settings, name)]
    say(
        f"Levels: {', '.join(levels) or 'none'}. {len(result.log)} steps, "
        f"{last['clips_seen']:.0f} clips, {last['seconds']:.1f} s: loss "
        f"{result.log[0]['loss']:.3f} → {last['loss']:.3f}, kept {last['kept']:.0%}"
    )
    say(f"Checkpoint: {result.checkpoint}")


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
