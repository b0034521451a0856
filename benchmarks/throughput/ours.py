"""This package on one video, in a process of its own: `whole` from file to heart rate, or `stages`.

Arguments: the mode, the video, the monotonic time at which the process was started, and for
`stages` how many seconds to read.
"""

import sys
import time
from collections.abc import Iterator

from benchmarks.throughput.process import Stopwatch, memory_mb, tell
from rppg.estimators.find import load_estimator
from rppg.predict import CROP_SIZE, predict, predict_crops
from rppg.video import Frame, probe, read_crops, read_frames
from rppg.video.crop import reduction
from rppg.video.prefetch import prefetch
from rppg.video.track import FaceTrack


def main() -> None:
    """Measure and tell."""
    mode, path, started, *rest = sys.argv[1:]
    found = whole(path, float(started)) if mode == "whole" else stages(path, float(rest[0]))
    tell(found)


def whole(path: str, started: float) -> dict[str, float]:
    """Start-up, then `predict`, once, as the command does it."""
    imports_mb = memory_mb("VmRSS")
    estimator = load_estimator()
    startup_s = time.monotonic() - started
    watch = Stopwatch()
    found = predict(path, estimator=estimator)
    return {
        "startup_s": startup_s,
        "frames": found.frames,
        "video_s": float(found.times_s[-1]),
        **watch.per_frame(found.frames),
        "imports_mb": imports_mb,
        "peak_mb": memory_mb("VmHWM") - imports_mb,
    }


def stages(path: str, seconds: float) -> dict[str, dict[str, float]]:
    """Each stage with all before it, from the file on, and the pulse from ready crops."""
    reduce = reduction(probe(path))

    def frames() -> Iterator[Frame]:
        return read_frames(path, duration_s=seconds, reduce=reduce)

    found = {}
    watch = Stopwatch()
    count = sum(1 for frame in frames() if frame.rgb is not None)
    found["decode"] = watch.per_frame(count)
    watch = Stopwatch()
    track = FaceTrack()
    for frame in prefetch(frames()):
        track.add_frame(frame)
    track.finish()
    found["decode, track"] = watch.per_frame(count)
    watch = Stopwatch()
    crops = read_crops(path, size=CROP_SIZE, duration_s=seconds)
    found["decode, track, crop"] = watch.per_frame(count)
    estimator = load_estimator()
    watch = Stopwatch()
    predict_crops(crops, estimator)
    found["pulse"] = watch.per_frame(count)
    return found


if __name__ == "__main__":
    main()
