"""A synthetic subject as a video file: a head in a room, compressed by a real codec."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rppg.atomic import atomic_path
from rppg.synthetic.cache import find_domain
from rppg.synthetic.domains import Codec
from rppg.synthetic.filmed.crops import encoding_of
from rppg.synthetic.filmed.film import Film
from rppg.synthetic.filmed.frames import film_frames
from rppg.synthetic.render import Viewport, render
from rppg.synthetic.subjects import SyntheticSubject, draw_subject
from rppg.video.encode import write_video
from rppg.video.threads import one_thread

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


def scene_frames(subject: SyntheticSubject) -> Iterable[NDArray[np.uint8]]:
    """Return the full frames `(H, W, 3)` in order: of a filmed domain, as its camera shows them."""
    if subject.film:
        return film_frames(subject.scene_setup, subject.film, seed=subject.noise_seed)
    return render_scene(subject)


def truth_path(video: Path) -> Path:
    """Return the path of a written video's ground truth."""
    return video.with_suffix(".csv")


def write_scene(
    domain: str, number: int, out: Path, *, duration_s: float = 20.0, crf: int | None = None
) -> Scene:
    """Render a subject as a video, with a file of its ground truth.

    Frames have 320×240 pixels; those of a filmed domain have the size of the subject's own camera.

    Args:
        domain: a synthetic domain, such as `webcam`.
        number: the subject.
        out: the video; its suffix chooses the container. The CSV file has the same stem.
        crf: quality of libx264, 0 (lossless) to 51; compression removes the pulse first. If None,
            the domain's or the recording's own codec is used, or libx264 at `CRF` if it has none.
    """
    return write_subject(draw_subject(find_domain(domain), number, duration_s), out, crf=crf)


@one_thread()  # torch's threads and the encoder's would wait for each other
def write_subject(subject: SyntheticSubject, out: Path, *, crf: int | None = None) -> Scene:
    """Write a subject that is drawn, as `write_scene`."""
    times_s, frames = subject.series.times_s, scene_frames(subject)
    encoding = encoding_of(subject.film.conditions) if subject.film else None
    if encoding is not None and crf is None:
        write_video(out, frames, times_s=times_s, encoding=encoding)
    else:
        codec = subject.profile.domain.codec
        if crf is not None or codec is None:
            codec = Codec("libx264", crf=CRF if crf is None else crf)
        write_video(
            out, frames, times_s=times_s, codec=codec.name, crf=codec.crf, qscale=codec.qscale
        )
    truth = truth_path(out)
    with atomic_path(truth) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["time_s", "bvp"])
        for time_s, value in zip(subject.truth.times_s, subject.truth.bvp, strict=True):
            rows.writerow([f"{time_s:.6f}", f"{value:.6f}"])
    return Scene(out, truth, _face_box(subject.film))


def _face_box(film: Film | None) -> tuple[int, int, int, int]:
    """Return x, y, width and height of the face at rest."""
    (x, y), face = ((WIDTH / 2, HEIGHT / 2), FACE)
    if film:
        (x, y), face = film.conditions.centre, film.conditions.face_px
    return int(x - face / 2), int(y - face / 2), face, face
