"""The options that several commands share."""

from typing import Annotated

import typer

Specs = Annotated[list[str], typer.Argument(metavar="SPEC...", help="See `rppg datasets`.")]
Subjects = Annotated[int, typer.Option(min=1, help="Subjects per synthetic domain.")]
Device = Annotated[str, typer.Option(help="Where networks compute: cpu, cuda, cuda:1.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes that read videos; as many as CPUs by default.")
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Read the videos; neither use nor keep stored crops.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
