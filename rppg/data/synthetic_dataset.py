"""Synthetic people as a public dataset: rendered videos in its layout, read back as downloaded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rppg.atomic import atomic_folder
from rppg.data import writers
from rppg.data.catalogue import DATASETS
from rppg.data.layouts.cohface import RATE_HZ as COHFACE_HZ
from rppg.data.layouts.mmpd import FPS as MMPD_FPS
from rppg.data.layouts.vipl_hr import WAVE_HZ
from rppg.errors import InputError
from rppg.signals import bandpass, rate_series, resample
from rppg.synthetic.cache import Progress, find_domain
from rppg.synthetic.scene import render_scene
from rppg.synthetic.subjects import Subject, draw_subject
from rppg.synthetic.time_courses import Courses
from rppg.types import Pulse
from rppg.video.encode import roundtrip

Array = NDArray[np.float64]

RATE_WINDOW_S = 5.0
UBFC_FPS, PURE_FPS, COHFACE_FPS = 30.0, 30.0, 20.0
PURE_START_NS = 1392643993642815000
PURE_SETUPS = {"talking": "02", "translation": "03", "rotation": "05"}
COHFACE_QSCALE = 2
"""How hard COHFACE's videos are compressed, for domains without a codec of their own."""
MMPD_MOTIONS = {"after exercise": "Stationary (after exercise)"}
VIPL_SCENARIOS = {"large": "2", "periodic": "2", "talking": "3"}
VIPL_SOURCES = 2
"""Cameras that film at once; the second has no `time.txt`, as in the dataset."""


def default_layout(domain: str) -> str:
    """The layout of the dataset that a domain mirrors."""
    mirrored = find_domain(domain).mirrors
    return next(name for name in LAYOUTS if DATASETS[name].title == mirrored)


def write_dataset(
    domain: str,
    out: Path,
    *,
    layout: str | None = None,
    subjects: int = 6,
    first: int = 0,
    duration_s: float = 20.0,
    progress: Progress | None = None,
) -> str:
    """Render subjects of a domain to a folder in the layout of a public dataset.

    Frames are taken at the layout's own rate, the ground truth at the sensor's. The folder appears
    whole or not at all.

    Args:
        domain: a synthetic domain, `webcam`.
        out: the folder, which must not exist.
        layout: one of `LAYOUTS`; by default that of the dataset that the domain mirrors.
        subjects: how many people, `first` and those after it.
        progress: called with the number of people filmed, and their total.

    Returns:
        The SPEC of what was written, `ubfc-rppg:FOLDER`.

    Raises:
        InputError: an unknown domain or layout, a folder that exists.
    """
    found = find_domain(domain)
    layout = layout or default_layout(domain)
    if layout not in LAYOUTS:
        raise InputError(f"no layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
    with atomic_folder(out) as folder:
        for place in range(subjects):
            subject = draw_subject(found, first + place, duration_s)
            LAYOUTS[layout](folder, place + 1, subject)
            if progress:
                progress(place + 1, subjects)
    return f"{layout}:{out}"


@dataclass(frozen=True)
class _Truth:
    """The contact sensor's pulse and heart rate at any time."""

    pulse: Pulse

    def bvp(self, times_s: Array) -> Array:
        return resample(self.pulse.bvp, self.pulse.times_s, times_s)

    def bpm(self, times_s: Array) -> Array:
        """Of windows of `RATE_WINDOW_S`, joined by straight lines between their middles."""
        fps = 1 / float(np.median(np.diff(self.pulse.times_s)))
        course = rate_series(bandpass(self.pulse.bvp, fps), fps, length_s=RATE_WINDOW_S)
        return np.interp(times_s, (course.start_s + course.end_s) / 2, course.hr_bpm)


def _regular(subject: Subject, fps: float) -> Array:
    """A camera's clock of constant rate over a subject's recording."""
    return np.arange(int(subject.courses.times_s[-1] * fps + 1e-6) + 1) / fps


def _film(subject: Subject, times_s: Array) -> writers.Frames:
    """The subject as a camera sees it at these times."""
    old = subject.courses
    moved = {
        field.name: np.interp(times_s, old.times_s, getattr(old, field.name))
        for field in fields(Courses)
        if field.name != "times_s"
    }
    return render_scene(replace(subject, courses=Courses(times_s=times_s, **moved)))


def _recorded(subject: Subject, times_s: Array) -> writers.Frames:
    """What the camera sees as it comes back from the domain's codec, where it has one."""
    frames, codec = _film(subject, times_s), subject.casting.domain.codec
    if codec is None:
        return frames
    fps = (len(times_s) - 1) / float(times_s[-1] - times_s[0])
    return roundtrip(frames, fps, codec.name, crf=codec.crf, qscale=codec.qscale)


def _ubfc_rppg(root: Path, place: int, subject: Subject) -> None:
    times, truth = _regular(subject, UBFC_FPS), _Truth(subject.truth)
    writers.write_ubfc_rppg(
        root / f"subject{place}", _recorded(subject, times), Pulse(times, truth.bvp(times)),
        truth.bpm(times), fps=UBFC_FPS,
    )  # fmt: skip


def _pure(root: Path, place: int, subject: Subject) -> None:
    times, truth = _regular(subject, PURE_FPS), _Truth(subject.truth)
    times[1:] += np.random.default_rng(subject.noise_seed).uniform(0, 1e-3, len(times) - 1)
    contact = subject.truth.times_s
    writers.write_pure(
        root / f"{place:02d}-{PURE_SETUPS.get(subject.casting.motion.name, '01')}",
        _recorded(subject, times),
        [PURE_START_NS + round(1e9 * time_s) for time_s in times],
        [PURE_START_NS + round(1e9 * time_s) for time_s in contact],
        subject.truth.bvp,
        truth.bpm(contact),
    )


def _cohface(root: Path, place: int, subject: Subject) -> None:
    times, truth = _regular(subject, COHFACE_FPS), _Truth(subject.truth)
    contact = _regular(subject, COHFACE_HZ)
    codec = subject.casting.domain.codec
    qscale = codec.qscale if codec and codec.qscale else COHFACE_QSCALE
    writers.write_cohface(
        root / str(place) / "0", _film(subject, times), Pulse(contact, truth.bvp(contact)),
        fps=COHFACE_FPS, qscale=qscale,
    )  # fmt: skip


def _mmpd(root: Path, place: int, subject: Subject) -> None:
    times, casting = _regular(subject, MMPD_FPS), subject.casting
    about = {
        "light": casting.light.name,
        "motion": MMPD_MOTIONS.get(casting.motion.name, casting.motion.name.capitalize()),
        "exercise": str(casting.motion.hr_bpm is not None),
        "skin_color": casting.skin_type,
        "gender": "unknown",
        "glasser": "False",
        "hair_cover": "False",
        "makeup": "False",
    }
    path = root / f"subject{place}" / f"p{place}_0.mat"
    writers.write_mmpd(path, _recorded(subject, times), _Truth(subject.truth).bvp(times), about)


def _vipl_hr(root: Path, place: int, subject: Subject) -> None:
    """The same moments through several cameras; the first is the one that was cast."""
    casting, truth = subject.casting, _Truth(subject.truth)
    scene = root / f"p{place}" / f"v{VIPL_SCENARIOS.get(casting.motion.name, '1')}"
    cameras = casting.domain.cameras
    for source in range(1, 1 + VIPL_SOURCES):
        camera = cameras[(cameras.index(casting.camera) + source - 1) % len(cameras)]
        seen = replace(
            subject,
            casting=replace(casting, camera=camera),
            noise_seed=subject.noise_seed + source,
        )
        own_clock = source > 1
        fps = casting.domain.fps
        times = _regular(subject, fps) if own_clock else subject.courses.times_s.round(3)
        writers.write_vipl_hr(
            scene / f"source{source}",
            _recorded(seen, times),
            None if own_clock else times,
            truth.bvp(_regular(subject, WAVE_HZ)),
            truth.bpm(_regular(subject, 1.0)),
            fps=fps,
        )


LAYOUTS: Mapping[str, Callable[[Path, int, Subject], None]] = {
    "ubfc-rppg": _ubfc_rppg,
    "pure": _pure,
    "cohface": _cohface,
    "mmpd": _mmpd,
    "vipl-hr": _vipl_hr,
}
"""From a name to what films a person, the dataset's n-th, into a folder."""
