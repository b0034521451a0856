"""A synthetic subject as a video file: a head in a room, compressed by a real codec."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rppg.atomic import atomic_path
from rppg.synthetic.cache import find_domain
from rppg.synthetic.domains import Codec
from rppg.synthetic.render import Viewport, render
from rppg.synthetic.subjects import SyntheticSubject, draw_subject
from rppg.video.encode import write_video

WIDTH, HEIGHT, FACE = 320, 240, 110
CRF = 4
"""Quality of libx264 for domains without a codec."""


@dataclass(frozen=True)
class Scene:
    """A written video, its ground truth, and the face box.

    Attributes:
        video: the video file.
        truth: the CSV file with columns `time_s,bvp`, 60 Hz.
        box: x, y, width, height of the face at rest, in pixels.
    """

    video: Path
    truth: Path
    box: tuple[int, int, int, int]


def render_scene(subject: SyntheticSubject) -> NDArray[np.uint8]:
    """Render the full frames `(T, HEIGHT, WIDTH, 3)` of a camera at rest."""
    count = len(subject.series.times_s)
    viewport = Viewport(
        x=np.zeros(count),
        y=np.zeros(count),
        width=WIDTH,
        height=HEIGHT,
        pixels_per_face=FACE,
    )
    return render(
        subject.scene_setup,
        viewport,
        seed=subject.noise_seed,
        chunk=8,
        noise_gain=3.0,  # a pixel of the scene has a ninth of the area of a crop's pixel
    )


def truth_path(video: Path) -> Path:
    """Return the path of a written video's ground truth."""
    return video.with_suffix(".csv")


def write_scene(
    domain: str, number: int, out: Path, *, duration_s: float = 20.0, crf: int | None = None
) -> Scene:
    """Render a subject as a 320×240 video, with a file of its ground truth.

    Args:
        domain: a synthetic domain, such as `webcam`.
        number: the subject.
        out: the video; its suffix chooses the container. The CSV file has the same stem.
        crf: quality of libx264, 0 (lossless) to 51; compression removes the pulse first. If None,
            the domain's own codec is used, or libx264 at `CRF` if the domain has none.
    """
    subject = draw_subject(find_domain(domain), number, duration_s)
    frames = render_scene(subject)
    codec = subject.profile.domain.codec
    if crf is not None or codec is None:
        codec = Codec("libx264", crf=CRF if crf is None else crf)
    write_video(
        out,
        frames,
        times_s=subject.series.times_s,
        codec=codec.name,
        crf=codec.crf,
        qscale=codec.qscale,
    )
    truth = truth_path(out)
    with atomic_path(truth) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["time_s", "bvp"])
        for time_s, value in zip(subject.truth.times_s, subject.truth.bvp, strict=True):
            rows.writerow([f"{time_s:.6f}", f"{value:.6f}"])
    return Scene(out, truth, ((WIDTH - FACE) // 2, (HEIGHT - FACE) // 2, FACE, FACE))
