"""Readings of a monitor in the terminal: a panel that changes, or a line for each."""

from collections.abc import Iterable
from math import ceil, isfinite
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from rppg.commands.terminal import print_line, stdout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rppg.live import Reading

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60
"""Characters of the wave."""
WIDEST = 2.5
"""Standard deviations from the middle of a bar to its end."""


def show_readings(readings: "Iterable[Reading]") -> None:
    """Show readings as they come: in a panel on a terminal, else as lines."""
    if not stdout.is_terminal:
        for reading in readings:
            print_line(describe(reading))
            stdout.file.flush()
        return
    with Live(console=stdout, auto_refresh=False) as display:
        for reading in readings:
            display.update(panel(reading), refresh=True)


def describe(reading: "Reading") -> str:
    """Return a reading as one line."""
    return f"{reading.time_s:7.1f} s  {_state(reading)}"


def panel(reading: "Reading") -> Panel:
    """Return a reading with its wave."""
    rate = f"{reading.hr_bpm:.0f} bpm" if reading.reliable else "-- bpm"
    style = "bold green" if reading.reliable else "bold"
    return Panel(
        Group(Text(rate, style=style), Text(sparkline(reading.wave)), Text(_state(reading))),
        title="rppg live, not a medical device",
        subtitle=f"{reading.time_s:.0f} s",
        width=WIDTH + 4,
    )


def sparkline(wave: "NDArray[np.float64]") -> str:
    """Return a wave `(T,)` of standard deviation 1 as a row of bars."""
    if len(wave) == 0:
        return " " * WIDTH
    step = max(1, len(wave) // WIDTH)
    levels = (wave[::step][-WIDTH:] / WIDEST + 1) / 2 * len(BARS)
    return "".join(BARS[max(0, min(int(level), len(BARS) - 1))] for level in levels)


def _state(reading: "Reading") -> str:
    from rppg.live import State

    if reading.state is State.MEASURING:
        return f"measuring: {ceil(reading.missing_s)} s to go"
    if reading.state is State.PULSE:
        return f"{reading.hr_bpm:5.1f} bpm  quality {reading.quality:.2f}"
    rate = f"{reading.hr_bpm:5.1f} bpm  " if isfinite(reading.hr_bpm) else ""
    if reading.state is State.LOOKING:
        rate = ""
    why = f" ({reading.reason})" if reading.reason else ""
    what = f"; {reading.advice}" if reading.advice else ""
    return f"{rate}{reading.state}{why}{what}"
