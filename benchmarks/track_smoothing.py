"""Effect of a smoothed face box on the pulse: `python -m benchmarks.track_smoothing`.

Rendered videos of validation subjects whose heads move, and POS on crops by four kinds of box: the
smoothed track, as in `rppg predict`; the detector's boxes of every sixth frame, interpolated; the
detector's box of each frame; and one box for the whole video. Prints, for each domain, the mean
signal-to-noise ratio over whole recordings, and the difference of the smoothed track to each of the
others with a 95 % interval over subjects. Writes `docs/results/track_smoothing.json`.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure_domains import domain_arguments, measure_domains
from rppg.cache_folder import cache_folder
from rppg.evaluation import classical, evaluate
from rppg.evaluation.metrics import mean
from rppg.synthetic.cache import SPLITS
from rppg.synthetic.domains import Domain
from rppg.synthetic.scene import truth_path, write_scene
from rppg.types import CROP_TO_FACE, FaceCrops, Pulse, Recording
from rppg.video import Frame, read_frames
from rppg.video.resize import resample_box
from rppg.video.threads import one_thread
from rppg.video.track import FaceTrack

Array = NDArray[np.float64]

SIZE = 54
CRF = 12
"""Compression that changes a camera's frames little."""


def main() -> None:
    """Measure, print, write."""
    parser = domain_arguments(__doc__, "track_smoothing", subjects=8)
    parser.add_argument("--seconds", type=float, default=15.0, help="length of each video")
    options = parser.parse_args()
    settings = {"subjects": options.subjects, "seconds": options.seconds, "crf": CRF}
    settings |= {"split": "validation", "method": "pos"}
    measure_domains(
        options.out,
        settings,
        lambda domain: measure_domain(domain, options.subjects, options.seconds),
        again=options.again,
        report=report,
    )


def measure_domain(domain: Domain, subjects: int, seconds: float) -> dict[str, Any]:
    """Return SNRs in dB of all subjects by kind of box, and the differences to the smoothed one."""
    snr: dict[str, list[float]] = {}
    for index in range(subjects):
        video = _scene(domain.name, SPLITS["validation"] + index, seconds)
        for kind, value in measure(video).items():
            snr.setdefault(kind, []).append(round(value, 3))
    return {"snr_db": snr, "smoothed_less": _differences(snr)}


def report(domain: Domain, result: dict[str, Any]) -> None:
    """Print a domain's results."""
    cells = "  ".join(f"{kind} {np.mean(values):6.2f}" for kind, values in result["snr_db"].items())
    print(f"{domain.key:10} {cells}", flush=True)
    for kind, (gain, low, high) in result["smoothed_less"].items():
        print(f"{'':10} smoothed minus {kind}: {gain:+.2f} dB ({low:+.2f} to {high:+.2f})")


def measure(video: Path) -> dict[str, float]:
    """Return the SNR of POS in dB by kind of box."""
    frames = list(read_frames(video))
    times_s = np.array([frame.time_s for frame in frames])
    rare, each = FaceTrack(), FaceTrack(every_s=0.0)
    for frame in frames:
        rare.add_frame(frame)
        each.add_frame(frame)
    rare.finish()
    each.finish()
    smoothed = [rare.box_at(time_s) for time_s in times_s]
    boxes = {
        "smoothed": np.array([item[0] for item in smoothed if item is not None]),
        "joined": _interpolated(rare, times_s),
        "each frame": _interpolated(each, times_s),
        "fixed": np.tile(np.median(rare.detections[1], axis=0), (len(frames), 1)),
    }
    table = np.loadtxt(truth_path(video), delimiter=",", skiprows=1)
    truth = Pulse(table[:, 0], table[:, 1])
    recordings = [
        Recording(
            name=kind,
            dataset="scenes",
            subject=video.stem,
            load_crops=partial(_crops, frames, box),
            load_truth=lambda: truth,
        )
        for kind, box in boxes.items()
    ]
    evaluation = evaluate(recordings, {"pos": classical("pos")})
    return {row.record: row.snr_db for row in evaluation.clips}


def _interpolated(track: FaceTrack, times_s: Array) -> Array:
    seen_s, boxes = track.detections
    return np.column_stack([np.interp(times_s, seen_s, side) for side in boxes.T])


def _crops(frames: list[Frame], boxes: Array) -> FaceCrops:
    pixels = []
    with one_thread():
        for frame, (x, y, side, _) in zip(frames, boxes, strict=True):
            margin = (CROP_TO_FACE - 1) / 2 * side
            crop = (x - margin, y - margin, CROP_TO_FACE * side, CROP_TO_FACE * side)
            pixels.append(np.rint(resample_box(frame.rgb, crop, SIZE)).astype(np.uint8))
    times_s = np.array([frame.time_s for frame in frames])
    return FaceCrops(np.stack(pixels), times_s, np.ones(len(frames), dtype=np.bool_))


def _differences(snr: Mapping[str, list[float]]) -> dict[str, tuple[float, float, float]]:
    subjects = [str(index) for index in range(len(snr["smoothed"]))]
    differences = {}
    for kind, values in snr.items():
        if kind != "smoothed":
            gain = mean(np.subtract(snr["smoothed"], values), subjects)
            differences[kind] = (round(gain.value, 3), round(gain.low, 3), round(gain.high, 3))
    return differences


def _scene(domain: str, number: int, seconds: float) -> Path:
    """Return a rendered video, from the cache or rendered now."""
    path = cache_folder() / "scenes" / f"{domain}-{number}-{seconds:g}s-crf{CRF}.mp4"
    if not (path.exists() and truth_path(path).exists()):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_scene(domain, number, path, duration_s=seconds, crf=CRF)
    return path


if __name__ == "__main__":
    main()
