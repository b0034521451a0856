"""Face crops of a filmed recording: cut from the decoded video, as a tracker would."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rppg.synthetic.filmed.conditions import Conditions
from rppg.synthetic.filmed.film import Film, tracked
from rppg.synthetic.filmed.frames import film_frames, film_squares, square_around
from rppg.synthetic.render import SceneSetup
from rppg.types import CROP_TO_FACE, FaceCrops, Frame
from rppg.video.encoding import Encoding
from rppg.video.resize import resample_box_uint8
from rppg.video.transcode import transcode

PRESETS = {"libx264": "superfast", "libx265": "ultrafast"}
"""Speeds of the encoders, as of those that encode while they record."""
BUFFER_S = 2.0
"""Seconds over which a stream's bit rate isn't exceeded."""


def encoding_of(conditions: Conditions) -> Encoding | None:
    """Return what the recording's encoder is asked for; None without compression."""
    if conditions.codec is None:
        return None
    return Encoding(
        conditions.codec,
        bit_rate=1000 * conditions.bit_rate_kbps,
        keyframe_interval=conditions.keyframe_interval,
        b_frames=conditions.b_frames,
        preset=PRESETS[conditions.codec],
        buffer_s=BUFFER_S,
    )


def film_crops(
    setup: SceneSetup,
    film: Film,
    *,
    size: int,
    seed: int,
    pulse_gain: float = 1.0,
    encoding: Encoding | None = None,
) -> FaceCrops:
    """Film a recording, encode and decode it, and cut the face out of every frame.

    Args:
        size: side of the crops in pixels.
        seed: seed of the sensor's noise.
        pulse_gain: factor on the pulse; 0 films the same recording without a pulse.
        encoding: in place of the recording's own.
    """
    conditions, times_s = film.conditions, setup.series.times_s
    encoding = encoding or encoding_of(conditions)
    left, top = face_corner(setup, film)
    frames: Iterator[Frame]
    if encoding is None:
        square = square_around(setup, film)
        left, top = left - square.left, top - square.top
        squares = film_squares(setup, film, seed=seed, pulse_gain=pulse_gain)
        frames = (Frame(time_s, rgb) for time_s, rgb in zip(times_s, squares, strict=True))
    else:
        whole = film_frames(setup, film, seed=seed, pulse_gain=pulse_gain)
        frames = transcode(whole, times_s, encoding)
    side = conditions.face_px * CROP_TO_FACE
    crops = np.empty((len(times_s), size, size, 3), np.uint8)
    decoded_s: list[float] = []
    is_key: list[bool] = []
    for index, frame in enumerate(frames):
        box = (float(left[index]), float(top[index]), side, side)
        crops[index] = resample_box_uint8(frame.rgb, box, size)
        decoded_s.append(frame.time_s)
        is_key.append(frame.is_key)
    if len(decoded_s) != len(times_s):
        raise RuntimeError(f"{len(decoded_s)} of {len(times_s)} frames were decoded")
    return FaceCrops(
        crops,
        np.array(decoded_s),
        np.ones(len(crops), dtype=np.bool_),
        is_key=None if encoding is None else np.array(is_key),
    )


def face_corner(setup: SceneSetup, film: Film) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the upper left corner `(T,)`, `(T,)` in pixels of the tracked face's crop."""
    series, conditions = setup.series, film.conditions
    face, centre = conditions.face_px, conditions.centre
    moved = (series.x + film.shake_x, series.y + film.shake_y)
    left, top = (
        rest + face * tracked(position, series.times_s) - face * CROP_TO_FACE / 2
        for rest, position in zip(centre, moved, strict=True)
    )
    return left, top
