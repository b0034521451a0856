"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Specs = Annotated[list[str], typer.Argument(metavar="SPEC...", help="See `rppg datasets`.")]
Method = Annotated[str, typer.Option(help="fcus or a classical method, see `rppg methods`.")]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Your own network; by default the shipped one.")
]
FullFrame = Annotated[bool, typer.Option("--full-frame", help="The face fills the whole frame.")]
Subjects = Annotated[int, typer.Option(min=1, help="Subjects per synthetic domain.")]
Device = Annotated[str, typer.Option(help="Device of the networks: cpu, cuda, cuda:1.")]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, help="Number of processes that read videos; by default the number of CPUs."
    ),
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Read the videos; don't use or fill the cache of crops.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else.")
]
