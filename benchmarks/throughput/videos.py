"""The benchmark's videos: ten seconds rendered once, then repeated forwards and backwards.

Encoded frames are copied with new timestamps instead of being encoded again, so that a video of
half an hour is written fast.
"""

from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from rppg.atomic import atomic_path
from rppg.cache_folder import cache_folder
from rppg.synthetic.cache import find_domain
from rppg.synthetic.render import Viewport, render
from rppg.synthetic.subjects import SyntheticSubject, draw_subject
from rppg.video import read_frames, write_video

DOMAIN, SUBJECT = "webcam", 0
RENDERED_S = 10.0
FPS = 30
BIT_RATE = 5_000_000
"""Typical of webcams and phones at 720p."""
NOISE_GAIN = 3.0
"""Noise of a pixel relative to that of a crop's pixel, which is a mean over many."""


def long_video(width: int, height: int, minutes: float) -> Path:
    """Return a video of a rendered face, from the cache or written now: 30 Hz, H.264."""
    path = cache_folder() / "throughput" / f"{height}p-{minutes:g}min.mp4"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        repeat(_segment(width, height), path, minutes)
    return path


def _segment(width: int, height: int) -> Path:
    """Return the rendered part and its reverse; larger sizes are enlarged from 1280 × 720."""
    path = cache_folder() / "throughput" / f"{height}p-segment.mp4"
    if path.exists():
        return path
    if height > 720:
        small = _segment(1280, 720)
        write_video(path, (_enlarged(f.rgb, width, height) for f in read_frames(small)), fps=FPS)
        return path
    frames = _rendered(draw_subject(find_domain(DOMAIN), SUBJECT, RENDERED_S), width, height)
    write_video(path, chain(frames, frames[::-1]), fps=FPS, bit_rate=BIT_RATE)
    return path


def _rendered(subject: SyntheticSubject, width: int, height: int) -> NDArray[np.uint8]:
    count = len(subject.series.times_s)
    view = Viewport(np.zeros(count), np.zeros(count), width, height, pixels_per_face=0.46 * height)
    return render(
        subject.scene_setup, view, seed=subject.noise_seed, chunk=4, noise_gain=NOISE_GAIN
    )


def _enlarged(rgb: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    larger = frame.reformat(width=width, height=height, interpolation="BICUBIC")
    return np.asarray(larger.to_ndarray(), dtype=np.uint8)


def repeat(segment: Path, path: Path, minutes: float) -> None:
    """Write the segment's packets repeatedly, until the video has the requested length."""
    with (
        atomic_path(path) as temporary,
        av.open(str(segment)) as source,
        av.open(str(temporary), "w", format="mp4") as target,
    ):
        origin = source.streams.video[0]
        stream = target.add_stream_from_template(origin)
        base = Fraction(origin.time_base)
        length = origin.duration
        copies = round(60 * minutes / float(length * base))
        for copy in range(copies):
            source.seek(0)
            for packet in source.demux(origin):
                if packet.size:
                    packet.pts += copy * length
                    packet.dts += copy * length
                    packet.stream = stream
                    target.mux(packet)
