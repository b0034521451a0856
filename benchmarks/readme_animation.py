"""The README's animation of a prediction: `python -m benchmarks.readme_animation`.

Renders a synthetic subject (a head in a room) as a video, runs `rppg.predict` on it with the
shipped network, and draws the face box, the wave, the heart rate and its quality as they come:
at each moment the rate of the last window that has ended. The reference is the subject's contact
sensor. Writes `docs/assets/demo.gif`.
"""

import argparse
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import uniform_filter

from rppg.atomic import atomic_path
from rppg.predict import Prediction, predict
from rppg.signals import bandpass, heart_rate_bpm, resample, uniform_grid
from rppg.synthetic.cache import SPLITS, find_domain
from rppg.synthetic.render import Viewport, render
from rppg.synthetic.subjects import draw_subject
from rppg.types import CROP_TO_FACE, Pulse
from rppg.video import read_crops, read_frames, write_video

Array = NDArray[np.float64]

DOMAIN, SUBJECT = "lab", SPLITS["test"] + 2
WIDTH, HEIGHT, FACE = 440, 480, 240
"""Pixels of the video and of the face in it."""
NOISE_GAIN = 6.0
"""Noise of a pixel relative to that of a crop's pixel, which is a mean over many."""
DURATION_S, START_S, SHOWN_S = 24.0, 14.0, 8.0
"""Length of the video, and the part of it that is shown."""
WINDOW_S = 10.0
FPS = 10
LAST_FRAME_S = 1.5

SIZE = (7.0, 3.1)
DPI = 100
VIDEO_COLOURS, OTHER_COLOURS = 48, 32
PANEL = 0.39
"""Share of the width that holds the video."""
LEFT, RIGHT = 0.43, 0.955
"""Edges of the other half, as shares of the width."""
NOISE, UNCHANGED = 16, 4
"""A pixel keeps its value if it changes by no more than the first and its surroundings by no more
than the second: noise would make the file several times as large."""

CARD, EDGE, TEXT, QUIET = "#12181f", "#30363d", "#f0f3f6", "#9aa4af"
BLUE, GREEN = "#58a6ff", "#3fb950"


@dataclass(frozen=True)
class Scene:
    """What the animation shows.

    Attributes:
        frames: of the shown part, `(T, H, W, 3)`.
        times_s: their times.
        boxes: the tracked face boxes in pixels, `(T, 4)`.
        prediction: of the whole video.
        truth: the subject's contact sensor.
    """

    frames: NDArray[np.uint8]
    times_s: Array
    boxes: Array
    prediction: Prediction
    truth: Pulse


def main() -> None:
    """Render, predict, draw, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.readme_animation", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, default=Path("docs/assets/demo.gif"))
    options = parser.parse_args()
    images = draw(film())
    write_gif(options.out, images)
    print(f"wrote {options.out}: {options.out.stat().st_size / 1e6:.2f} MB, {len(images)} frames")


def film() -> Scene:
    """Render the video and run the prediction on it."""
    subject = draw_subject(find_domain(DOMAIN), SUBJECT, DURATION_S)
    still = np.zeros(len(subject.series.times_s))
    view = Viewport(still, still, WIDTH, HEIGHT, pixels_per_face=FACE)
    rendered = render(
        subject.scene_setup, view, seed=subject.noise_seed, noise_gain=NOISE_GAIN, chunk=8
    )
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "face.mp4"
        write_video(video, rendered, times_s=subject.series.times_s, crf=10)
        prediction = predict(video)
        crops = read_crops(video)
        frames = list(read_frames(video))
    moments = START_S + np.arange(round(SHOWN_S * FPS)) / FPS
    nearest = [int(np.argmin(np.abs(crops.times_s - moment))) for moment in moments]
    x, y, width, height = np.array(crops.boxes)[nearest].T
    margin = width * (1 - 1 / CROP_TO_FACE) / 2
    boxes = np.column_stack([x + margin, y + margin, width - 2 * margin, height - 2 * margin])
    shown = np.stack([frames[index].rgb for index in nearest])
    return Scene(shown, moments, boxes, prediction, subject.truth)


def draw(scene: Scene) -> list[Image.Image]:
    """Return the animation's images."""
    prediction, truth = scene.prediction, scene.truth
    reference = bandpass(resample(truth.bvp, truth.times_s, prediction.times_s), 30.0)
    shown = (prediction.times_s >= START_S) & (prediction.times_s <= START_S + SHOWN_S)
    times_s = prediction.times_s[shown] - START_S
    wave, contact = (_unit(values[shown]) for values in (prediction.bvp, reference))

    figure = Figure(figsize=SIZE, dpi=DPI, facecolor=CARD)
    canvas = FigureCanvasAgg(figure)
    image, box = add_video(figure, scene.frames[0])
    contact_line, wave_line, tip = add_wave(figure)
    rate, quality, bar = add_numbers(figure)
    figure.text(LEFT, 0.075, "pulse wave", color=BLUE, fontsize=10, fontweight="bold")
    contact_rate = figure.text(RIGHT, 0.075, "", color=QUIET, fontsize=10, ha="right")
    images = []
    for frame, moment, (x, y, width, height) in zip(
        scene.frames, scene.times_s, scene.boxes, strict=True
    ):
        image.set_data(frame)
        box.set_bounds(x, y, width, height)
        bpm, index = current(prediction, float(moment))
        rate.set_text(f"{bpm:.0f}")
        quality.set_text(f"{index:.2f}")
        bar.set_width(index)
        contact_rate.set_text(f"contact sensor: {true_rate(truth, float(moment)):.0f} bpm")
        past = times_s <= moment - START_S
        wave_line.set_data(times_s[past], wave[past])
        contact_line.set_data(times_s[past], contact[past])
        tip.set_data(times_s[past][-1:], wave[past][-1:])
        canvas.draw()
        images.append(Image.fromarray(np.array(canvas.buffer_rgba())))
    return images


def add_video(figure: Figure, frame: NDArray[np.uint8]) -> tuple[AxesImage, Rectangle]:
    """Add the video; return its image and the face box."""
    axes = figure.add_axes((0.022, 0.05, 0.9 * SIZE[1] / SIZE[0] * WIDTH / HEIGHT, 0.9))
    axes.set_axis_off()
    box = Rectangle((0, 0), 1, 1, fill=False, edgecolor=GREEN, linewidth=2)
    axes.add_patch(box)
    return axes.imshow(frame, interpolation="antialiased"), box


def add_numbers(figure: Figure) -> tuple[Text, Text, Rectangle]:
    """Add heart rate and quality; return their texts, and the bar of the quality."""
    figure.text(LEFT, 0.885, "heart rate from the video", color=QUIET, fontsize=10)
    rate = figure.text(LEFT, 0.665, "", color=TEXT, fontsize=40, fontweight="bold")
    figure.text(0.74, 0.885, "quality", color=QUIET, fontsize=10)
    quality = figure.text(0.74, 0.745, "", color=TEXT, fontsize=19, fontweight="bold")
    axes = figure.add_axes((0.74, 0.675, RIGHT - 0.74, 0.035))
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    bar = Rectangle((0, 0), 0, 1, color=GREEN)
    axes.add_patch(Rectangle((0, 0), 1, 1, color=EDGE))
    axes.add_patch(bar)
    axes.annotate(
        "bpm",
        xy=(1, 0),
        xycoords=rate,
        xytext=(7, 9),
        textcoords="offset points",
        color=QUIET,
        fontsize=14,
    )
    return rate, quality, bar


def add_wave(figure: Figure) -> list[Line2D]:
    """Add the axes of the wave; return the lines of contact sensor and wave, and the wave's tip."""
    axes = figure.add_axes((LEFT, 0.21, RIGHT - LEFT, 0.36))
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(EDGE)
    axes.tick_params(colors=QUIET, labelsize=9, length=0)
    axes.set_yticks([])
    axes.set(xlim=(0, SHOWN_S), ylim=(-2.6, 2.6))
    seconds = range(0, int(SHOWN_S) + 1, 2)
    axes.set_xticks(seconds, [f"{second} s" for second in seconds])
    return [
        *axes.plot([], [], color=QUIET, linewidth=1.2, alpha=0.75),
        *axes.plot([], [], color=BLUE, linewidth=2.2),
        *axes.plot([], [], "o", color=BLUE, markersize=5),
    ]


def current(prediction: Prediction, moment: float) -> tuple[float, float]:
    """Return rate and quality of the last window that has ended."""
    windows = prediction.rates
    index = np.searchsorted(windows.end_s, moment + 1e-6) - 1
    return float(windows.hr_bpm[index]), float(windows.quality[index])


def true_rate(truth: Pulse, moment: float) -> float:
    """Return the contact sensor's rate in the window that ends with `moment`."""
    end_s = START_S + np.floor(moment - START_S)  # windows end once per second
    grid_s = uniform_grid(np.array([end_s - WINDOW_S, end_s]), 30.0)
    return float(heart_rate_bpm(bandpass(resample(truth.bvp, truth.times_s, grid_s), 30.0), 30.0))


def write_gif(path: Path, images: list[Image.Image]) -> None:
    """Write a looping GIF; the last image stays longer."""
    stable = [np.asarray(images[0])]
    for image in images[1:]:
        pixels, before = np.asarray(image), stable[-1]
        change = pixels[..., :3].astype(float) - before[..., :3]
        around = np.abs(uniform_filter(change, (5, 5, 1))).max(axis=-1)  # noise averages out
        close = (np.abs(change).max(axis=-1) <= NOISE) & (around <= UNCHANGED)
        stable.append(np.where(close[..., None], before, pixels))
    palette = shared_palette(np.concatenate(stable[:: max(1, len(stable) // 6)])[..., :3])
    frames = [
        Image.fromarray(np.ascontiguousarray(pixels[..., :3])).quantize(
            palette=palette, dither=Image.Dither.NONE
        )
        for pixels in stable
    ]
    durations = [round(1000 / FPS)] * (len(frames) - 1) + [round(1000 * LAST_FRAME_S)]
    data = io.BytesIO()
    frames[0].save(
        data,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0,
        optimize=False,
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.getvalue())


def shared_palette(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return an image with the palette of all frames: colours of the video, then of the rest."""
    split = round(PANEL * pixels.shape[1])
    values: list[int] = []
    for part, count in ((pixels[:, :split], VIDEO_COLOURS), (pixels[:, split:], OTHER_COLOURS)):
        image = Image.fromarray(np.ascontiguousarray(part))
        colours = image.quantize(count, method=Image.Quantize.MEDIANCUT).getpalette() or []
        values += colours[: 3 * count]
    palette = Image.new("P", (1, 1))
    palette.putpalette(values)
    return palette


def _unit(values: Array) -> Array:
    return np.asarray((values - values.mean()) / values.std())


if __name__ == "__main__":
    main()
