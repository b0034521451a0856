"""The option `--box` and its four numbers."""

from typing import Annotated

import typer

from rppg.errors import InputError

Box = Annotated[str | None, typer.Option(help="The face as x,y,w,h in pixels, forehead to chin.")]


def parse_box(text: str | None) -> tuple[float, float, float, float] | None:
    """Return x, y, width, height in pixels; None for none.

    Raises:
        InputError: anything but four numbers.
    """
    if text is None:
        return None
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--box {text!r}: give four numbers, x,y,w,h, in pixels") from error
    return x, y, width, height
