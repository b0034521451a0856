"""Drawing of the network's stages: `python -m benchmarks.network_drawing`.

Grids and signatures are drawn from those in `rppg.models`. Writes `docs/assets/network.svg`; the
same code gives the same bytes.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor

from rppg.atomic import write_text
from rppg.models.fcus import NOMINAL_SIGNATURES, ModelConfig
from rppg.models.patches import background_patches, face_prior
from rppg.report.figure_style import PALETTE
from rppg.types import CROP_TO_FACE

WIDTH, ROW, SIDE, LEFT, TEXT = 720, 108, 80, 56, 164
"""Width of the drawing, height of a row, side of a pictogram, and where it and the text begin."""
INK, GREY, PAPER = "#1f2328", "#57606a", "#ffffff"
BLUE, ORANGE = PALETTE[:2]
CHANNELS = ("#c0392b", "#1e8449", "#2457a6")
CONFIG = ModelConfig()


def patches() -> str:
    """Draw a crop averaged into patches."""
    return _grid(0.25 + 0.65 * face_prior(CONFIG.grid), GREY)


def attention() -> str:
    """Draw the attention before training."""
    return _grid(face_prior(CONFIG.grid), BLUE)


def regions() -> str:
    """Draw the lattice of regions over the face box."""
    box = SIDE / CROP_TO_FACE
    first, step = (SIDE - box) / 2, box / CONFIG.regions
    lines = []
    for index in range(CONFIG.regions + 1):
        at, end = first + index * step, first + box
        lines.append(_line([(at, first), (at, end)], INK, 1))
        lines.append(_line([(first, at), (end, at)], INK, 1))
    return _grid(face_prior(CONFIG.grid), BLUE) + "".join(lines)


def background() -> str:
    """Draw the patches beside and above the head."""
    return _grid(background_patches(CONFIG.grid).amax(0), ORANGE) + _head()


def motion() -> str:
    """Draw the four kinds of motion: two shifts, growth and rotation."""
    middle = SIDE / 2
    arrows = [
        ((middle, middle), (middle + 20, middle)),
        ((middle, middle), (middle, middle + 24)),
        ((14, 14), (3, 3)),
        ((SIDE - 14, SIDE - 14), (SIDE - 3, SIDE - 3)),
    ]
    angles = [math.radians(degrees) for degrees in range(-75, -14, 10)]
    arc = [(middle + 38 * math.cos(a), middle + 38 * math.sin(a)) for a in angles]
    return _head() + "".join(_line(arrow, ORANGE, 2, arrow=True) for arrow in [*arrows, arc])


def beamformer() -> str:
    """Draw three channels that become one wave."""
    waves = [
        _line(_wave(0, 34, 14 + 26 * index, height, noise), CHANNELS[index], 1.6)
        for index, (height, noise) in enumerate([(3, 4), (6, 4), (3.5, 4)])
    ]
    merge = [_line([(37, 14 + 26 * n), (46, SIDE / 2)], GREY, 1.2) for n in range(3)]
    return "".join(waves + merge) + _line(_wave(48, SIDE, SIDE / 2, 10, 0), BLUE, 1.8)


def bank() -> str:
    """Draw the signatures, as bars of red, green and blue."""
    bars = []
    for index, signature in enumerate(NOMINAL_SIGNATURES):
        for channel, amplitude in enumerate(signature):
            x, height = 16 * index + 4 * channel + 2, 78 * amplitude
            bars.append(_rectangle(x, SIDE - 8 - height, 3.4, height, CHANNELS[channel]))
    return "".join(bars) + _line([(0, SIDE - 8), (SIDE, SIDE - 8)], INK, 1)


def pulse() -> str:
    """Draw one wave."""
    return _line(_wave(0, SIDE, SIDE / 2, 22, 0), BLUE, 2.2)


STAGES: Sequence[tuple[Callable[[], str], str, str, str]] = (
    (
        patches,
        "Patches",
        "the crop averaged into 18 × 18 patches, as relative change",
        "B, 324, 3, T",
    ),
    (attention, "Shared attention", "skin, found by the same encoder in every channel", "B, 324"),
    (
        regions,
        "Regional traces",
        "6 × 6 regions of the face box, weighted by attention",
        "B, 36, 3, T",
    ),
    (
        background,
        "Light cancelled",
        "the part shared with the background is removed",
        "B, 36, 3, T",
    ),
    (
        motion,
        "Motion cancelled",
        "the part shared with the head's motion is removed",
        "B, 36, 3, T",
    ),
    (beamformer, "Beamformer", "the mixture of channels with the least power", "B, 5, 36, T"),
    (
        bank,
        "Bank of signatures",
        "five cameras, weighted by the sparsity of their waves",
        "B, 36, T",
    ),
    (pulse, "Fusion", "regions averaged by attention / amplitude²", "B, T"),
)
"""Pictogram, name, description, and shape of the result."""


def drawing() -> str:
    """Return the drawing as SVG: dark text on a light card, legible on any page."""
    height = ROW * len(STAGES) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="system-ui, sans-serif" role="img">',
        "<title>The stages of the network, from a clip to the pulse</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="5" '
        f'markerHeight="5" orient="auto"><path d="M0 0L8 4L0 8z" fill="{ORANGE}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="{PAPER}" stroke="#d0d7de"/>',
    ]
    for index, (draw, name, description, shape) in enumerate(STAGES):
        top = 12 + index * ROW + (ROW - SIDE) / 2
        parts.append(f'<g transform="translate({LEFT} {top:g})">{draw()}</g>')
        parts.append(_text(28, top + 46, str(index + 1), 18, GREY, bold=True, anchor="middle"))
        parts.append(_text(TEXT, top + 34, name, 19, INK, bold=True))
        parts.append(_text(TEXT, top + 60, description, 16, INK))
        parts.append(_text(WIDTH - 20, top + 34, f"({shape})", 16, GREY, anchor="end"))
        if index + 1 < len(STAGES):
            x, y = LEFT + SIDE / 2, top + SIDE
            parts.append(f'<path d="M{x - 7:g} {y + 9:g}h14l-7 10z" fill="{GREY}"/>')
    return "\n".join([*parts, "</svg>\n"])


def _grid(values: Tensor, colour: str) -> str:
    """Draw a square grid of opacities."""
    size = SIDE / len(values)
    cells = [
        _rectangle(x * size, y * size, size - 0.5, size - 0.5, colour, opacity)
        for y, row in enumerate(values.tolist())
        for x, opacity in enumerate(row)
        if opacity >= 0.01
    ]
    frame = f'<rect width="{SIDE}" height="{SIDE}" fill="none" stroke="{GREY}"/>'
    return "".join(cells) + frame


def _head() -> str:
    """Draw the face's outline in its crop."""
    x, y = 0.42 * SIDE / CROP_TO_FACE, 0.56 * SIDE / CROP_TO_FACE
    frame = f'<rect width="{SIDE}" height="{SIDE}" fill="none" stroke="{GREY}"/>'
    return frame + (
        f'<ellipse cx="{SIDE / 2:g}" cy="{SIDE / 2:g}" rx="{x:.1f}" ry="{y:.1f}" fill="none" '
        f'stroke="{INK}" stroke-width="1.5"/>'
    )


def _wave(
    start: float, end: float, middle: float, height: float, noise: float
) -> list[tuple[float, float]]:
    """Return a pulse with its second harmonic, and a slower disturbance."""
    points = []
    for n in range(61):
        phase = 2 * math.pi * n / 20
        value = math.sin(phase) + 0.35 * math.sin(2 * phase + 0.6)
        y = middle - height * value / 1.2 - noise * math.sin(0.37 * phase + middle)
        points.append((start + (end - start) * n / 60, y))
    return points


def _line(
    points: Sequence[tuple[float, float]], colour: str, width: float, *, arrow: bool = False
) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    tip = ' marker-end="url(#tip)"' if arrow else ""
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"{tip}/>'
    )


def _rectangle(
    x: float, y: float, width: float, height: float, colour: str, opacity: float = 1.0
) -> str:
    shade = "" if opacity == 1 else f' fill-opacity="{opacity:.2f}"'
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'fill="{colour}"{shade}/>'
    )


def _text(
    x: float, y: float, text: str, size: int, colour: str, *, bold: bool = False,
    anchor: str = "start",
) -> str:  # fmt: skip
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" '
        f'text-anchor="{anchor}"{weight}>{text}</text>'
    )


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/assets/network.svg"))
    out = parser.parse_args().out
    write_text(out, drawing())
    print(out)


if __name__ == "__main__":
    main()
