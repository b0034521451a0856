"""Synthetic people written to disk in the layout of a public dataset."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rppg.atomic import atomic_folder
from rppg.data import writers
from rppg.data.datasets import DATASETS
from rppg.data.layouts.cohface import RATE_HZ as COHFACE_HZ
from rppg.data.layouts.mmpd import FPS as MMPD_FPS
from rppg.data.layouts.vipl_hr import WAVE_HZ
from rppg.errors import InputError
from rppg.signals import bandpass, rate_series, resample
from rppg.synthetic.cache import Progress, find_domain
from rppg.synthetic.filmed.crops import encoding_of
from rppg.synthetic.filmed.domains import FilmedDomain
from rppg.synthetic.filmed.film import resample_film
from rppg.synthetic.pulse_motion_light import TimeSeries
from rppg.synthetic.scene import scene_frames, write_subject
from rppg.synthetic.subjects import SyntheticSubject, draw_subject
from rppg.types import Pulse
from rppg.video.encode import roundtrip
from rppg.video.threads import one_thread
from rppg.video.transcode import transcode

Array = NDArray[np.float64]

RATE_WINDOW_S = 5.0
UBFC_FPS, PURE_FPS, COHFACE_FPS = 30.0, 30.0, 20.0
PURE_START_NS = 1392643993642815000
PURE_SETUPS = {"talking": "02", "translation": "03", "rotation": "05"}
COHFACE_QSCALE = 2
"""Quantiser of COHFACE's videos, for domains without a codec of their own."""
MMPD_MOTIONS = {"after exercise": "Stationary (after exercise)"}
VIPL_SCENARIOS = {"large": "2", "periodic": "2", "talking": "3"}
MANIFEST, MANIFEST_FILE = "manifest", "people.csv"
VIPL_SOURCES = 2
"""Number of simultaneous cameras. The second has no `time.txt`, as in the dataset."""


def default_layout(domain: str) -> str:
    """Return the layout of the dataset that a domain mirrors; of a filmed one, a CSV manifest."""
    known_domain = find_domain(domain)
    if isinstance(known_domain, FilmedDomain):
        return MANIFEST
    mirrored = known_domain.mirrors
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

    Frames have the frame rate of the layout, the ground truth that of its sensor. With the layout
    `manifest`, videos are as `rppg.synthetic.scene.write_scene` writes them, with the domain's own
    codec and times. The folder appears complete or not at all.

    Args:
        domain: a synthetic domain, such as `webcam`.
        out: the folder, which must not exist.
        layout: one of `LAYOUTS`; by default that of the dataset that the domain mirrors, and
            `manifest` for the filmed domains.
        subjects: number of people, `first` and those after it.
        progress: called with the number of people written and their total.

    Returns:
        The SPEC of the dataset, such as `ubfc-rppg:FOLDER` or `manifest:FOLDER/people.csv`.

    Raises:
        InputError: an unknown domain or layout, or a folder that exists.
    """
    known_domain = find_domain(domain)
    layout = layout or default_layout(domain)
    if layout not in LAYOUTS:
        raise InputError(f"no layout {layout!r}; choose one of {', '.join(LAYOUTS)}")
    with atomic_folder(out) as folder, one_thread():
        for number in range(1, subjects + 1):
            subject = draw_subject(known_domain, first + number - 1, duration_s)
            LAYOUTS[layout](folder, number, subject)
            if progress:
                progress(number, subjects)
    return f"{layout}:{out / MANIFEST_FILE if layout == MANIFEST else out}"


@dataclass(frozen=True)
class _Sensor:
    """A contact sensor, read at any times."""

    pulse: Pulse

    def bvp(self, times_s: Array) -> Array:
        """Return the BVP at these times."""
        return resample(self.pulse.bvp, self.pulse.times_s, times_s)

    def bpm(self, times_s: Array) -> Array:
        """Return heart rates of windows of `RATE_WINDOW_S`, interpolated between their centres."""
        fps = 1 / float(np.median(np.diff(self.pulse.times_s)))
        rates = rate_series(bandpass(self.pulse.bvp, fps), fps, length_s=RATE_WINDOW_S)
        return np.interp(times_s, (rates.start_s + rates.end_s) / 2, rates.hr_bpm)


def _regular_times(subject: SyntheticSubject, fps: float) -> Array:
    """Return times of constant rate that cover a subject's recording."""
    return np.arange(int(subject.series.times_s[-1] * fps + 1e-6) + 1) / fps


def _render_at(subject: SyntheticSubject, times_s: Array) -> writers.Frames:
    """Render the frames that a camera records at these times."""
    series = subject.series
    resampled = {
        field.name: np.interp(times_s, series.times_s, getattr(series, field.name))
        for field in fields(TimeSeries)
        if field.name != "times_s"
    }
    film = subject.film and resample_film(subject.film, series.times_s, times_s)
    bands = subject.additions.bands
    additions = subject.additions
    if film and bands:
        phase = np.interp(times_s, series.times_s, bands.phase)
        additions = replace(additions, bands=replace(bands, phase=phase))
    resampled_series = TimeSeries(times_s=times_s, **resampled)
    frames = scene_frames(replace(subject, series=resampled_series, film=film, additions=additions))
    return frames if isinstance(frames, np.ndarray) else np.stack(list(frames))


def _record_at(subject: SyntheticSubject, times_s: Array) -> writers.Frames:
    """Render the frames at these times, and compress them if the domain has a codec."""
    frames, codec = _render_at(subject, times_s), subject.profile.domain.codec
    encoding = encoding_of(subject.film.conditions) if subject.film else None
    if encoding is not None:
        return np.stack([frame.rgb for frame in transcode(frames, times_s, encoding)])
    if codec is None:
        return frames
    fps = (len(times_s) - 1) / float(times_s[-1] - times_s[0])
    return roundtrip(frames, fps, codec.name, crf=codec.crf, qscale=codec.qscale)


def _ubfc_rppg(root: Path, number: int, subject: SyntheticSubject) -> None:
    times, sensor = _regular_times(subject, UBFC_FPS), _Sensor(subject.truth)
    writers.write_ubfc_rppg(
        root / f"subject{number}", _record_at(subject, times), Pulse(times, sensor.bvp(times)),
        sensor.bpm(times), fps=UBFC_FPS,
    )  # fmt: skip


def _pure(root: Path, number: int, subject: SyntheticSubject) -> None:
    times, sensor = _regular_times(subject, PURE_FPS), _Sensor(subject.truth)
    times[1:] += np.random.default_rng(subject.noise_seed).uniform(0, 1e-3, len(times) - 1)
    contact = subject.truth.times_s
    writers.write_pure(
        root / f"{number:02d}-{PURE_SETUPS.get(subject.profile.motion.name, '01')}",
        _record_at(subject, times),
        [PURE_START_NS + round(1e9 * time_s) for time_s in times],
        [PURE_START_NS + round(1e9 * time_s) for time_s in contact],
        subject.truth.bvp,
        sensor.bpm(contact),
    )


def _cohface(root: Path, number: int, subject: SyntheticSubject) -> None:
    times, sensor = _regular_times(subject, COHFACE_FPS), _Sensor(subject.truth)
    contact = _regular_times(subject, COHFACE_HZ)
    codec = subject.profile.domain.codec
    qscale = codec.qscale if codec and codec.qscale else COHFACE_QSCALE
    writers.write_cohface(
        root / str(number) / "0", _render_at(subject, times), Pulse(contact, sensor.bvp(contact)),
        fps=COHFACE_FPS, qscale=qscale,
    )  # fmt: skip


def _mmpd(root: Path, number: int, subject: SyntheticSubject) -> None:
    times, profile = _regular_times(subject, MMPD_FPS), subject.profile
    variables = {
        "light": profile.light.name,
        "motion": MMPD_MOTIONS.get(profile.motion.name, profile.motion.name.capitalize()),
        "exercise": str(profile.motion.hr_bpm is not None),
        "skin_color": profile.skin_type,
        "gender": "unknown",
        "glasser": "False",
        "hair_cover": "False",
        "makeup": "False",
    }
    path = root / f"subject{number}" / f"p{number}_0.mat"
    writers.write_mmpd(
        path, _record_at(subject, times), _Sensor(subject.truth).bvp(times), variables
    )


def _vipl_hr(root: Path, number: int, subject: SyntheticSubject) -> None:
    """Write the same scene as recorded by several cameras, first the one of the profile."""
    profile, sensor = subject.profile, _Sensor(subject.truth)
    scene = root / f"p{number}" / f"v{VIPL_SCENARIOS.get(profile.motion.name, '1')}"
    cameras = profile.domain.cameras
    for source in range(1, 1 + VIPL_SOURCES):
        camera = cameras[(cameras.index(profile.camera) + source - 1) % len(cameras)]
        other_view = replace(
            subject,
            profile=replace(profile, camera=camera),
            noise_seed=subject.noise_seed + source,
        )
        file_clock = source > 1
        fps = profile.domain.fps
        times = _regular_times(subject, fps) if file_clock else subject.series.times_s.round(3)
        writers.write_vipl_hr(
            scene / f"source{source}",
            _record_at(other_view, times),
            None if file_clock else times,
            sensor.bvp(_regular_times(subject, WAVE_HZ)),
            sensor.bpm(_regular_times(subject, 1.0)),
            fps=fps,
        )


def _manifest(root: Path, number: int, subject: SyntheticSubject) -> None:
    """Write a video with its own codec and times, its ground truth, and its row of the manifest."""
    video = root / f"{number:03d}.mp4"
    scene = write_subject(subject, video)
    row = {"video": video.name, "ground_truth": scene.truth.name, "subject": f"{number:03d}"}
    row |= subject.profile.metadata
    path, new = root / MANIFEST_FILE, number == 1
    with path.open("w" if new else "a", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, list(row))
        if new:
            rows.writeheader()
        rows.writerow(row)


LAYOUTS: Mapping[str, Callable[[Path, int, SyntheticSubject], None]] = {
    "ubfc-rppg": _ubfc_rppg,
    "pure": _pure,
    "cohface": _cohface,
    "mmpd": _mmpd,
    "vipl-hr": _vipl_hr,
    "manifest": _manifest,
}
"""From a layout's name to a function `(root, number, subject)` that writes one subject."""
