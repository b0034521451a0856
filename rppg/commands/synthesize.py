"""`rppg synthesize`."""

from pathlib import Path
from typing import Annotated

import typer

from rppg.commands.terminal import print_line, progress_bars
from rppg.errors import InputError


def synthesize(
    domain: Annotated[str, typer.Option(help="A synthetic domain, see `rppg datasets`.")],
    out: Annotated[Path, typer.Option(help="The video file, or the dataset's folder.")],
    subject: Annotated[
        int, typer.Option(min=0, help="Number of the person, or of the first one.")
    ] = 0,
    subjects: Annotated[
        int | None, typer.Option(min=1, help="Number of people; writes a dataset.")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="Layout of the dataset: ubfc-rppg, pure, ..., manifest; by default what it "
            "mirrors, and manifest for stream, dim and phone."
        ),
    ] = None,
    duration: Annotated[float, typer.Option(min=5, max=600, help="Length in seconds.")] = 20.0,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> None:
    """Render a synthetic person as a video file, or several as a dataset in a public layout."""
    if subjects is None and layout is None:
        _write_scene(domain, subject, out, duration, force=force)
        return
    from rppg.data.synthetic_dataset import write_dataset

    if force:
        raise InputError("--force replaces a video only; a dataset needs an --out that is new")
    with progress_bars() as bars:
        spec = write_dataset(
            domain,
            out,
            layout=layout,
            subjects=subjects or 1,
            first=subject,
            duration_s=duration,
            progress=bars.loading,
        )
    print_line(spec)


def _write_scene(domain: str, subject: int, out: Path, duration_s: float, *, force: bool) -> None:
    from rppg.synthetic.scene import truth_path, write_scene

    existing = [file for file in (out, truth_path(out)) if file.is_file()]
    if existing and not force:
        names = " and ".join(map(str, existing))
        raise InputError(f"{names}: exists already; choose another --out, or replace with --force")
    scene = write_scene(domain, subject, out, duration_s=duration_s)
    box = ",".join(map(str, scene.box))
    print_line(f"{scene.video} (face at rest: --box {box}), ground truth {scene.truth}")
