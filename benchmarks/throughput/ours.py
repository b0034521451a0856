"""Speed of this package on one video, in a separate process.

Arguments: the mode (`whole`: from file to heart rate; `bare`: decoding to RGB alone, without this
package; or `stages`), the video, the monotonic time at which the process was started, and for
`stages` the number of seconds to read.
"""

import sys
import time
from collections.abc import Iterator

import av

from benchmarks.throughput.process import Stopwatch, memory_mb, print_json
from rppg.estimators.find import load_estimator
from rppg.predict import predict, predict_crops
from rppg.video import Frame, probe, read_crops, read_frames
from rppg.video.crop import reduction
from rppg.video.prefetch import prefetch
from rppg.video.track import FaceTrack


def main() -> None:
    """Measure and print."""
    mode, path, started, *rest = sys.argv[1:]
    if mode == "bare":
        print_json(bare(path))
    else:
        print_json(whole(path, float(started)) if mode == "whole" else stages(path, float(rest[0])))


def bare(path: str) -> dict[str, float]:
    """Return the cost of decoding to RGB, as in the examples of PyAV."""
    watch = Stopwatch()
    frames = 0
    with av.open(path) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            frame.to_ndarray(format="rgb24")
            frames += 1
    return watch.per_frame(frames)


def whole(path: str, started: float) -> dict[str, float]:
    """Return the cost of start-up and of one call of `predict`, as in `rppg predict`."""
    imports_mb = memory_mb("VmRSS")
    estimator = load_estimator()
    startup_s = time.monotonic() - started
    watch = Stopwatch()
    prediction = predict(path, estimator=estimator)
    return {
        "startup_s": startup_s,
        "frames": prediction.frames,
        "video_s": float(prediction.times_s[-1]),
        **watch.per_frame(prediction.frames),
        "imports_mb": imports_mb,
        "peak_mb": memory_mb("VmHWM") - imports_mb,
    }


def stages(path: str, seconds: float) -> dict[str, dict[str, float]]:
    """Return the cost of each stage including all before it, and of the pulse from crops."""
    reduce = reduction(probe(path))

    def frames() -> Iterator[Frame]:
        return read_frames(path, duration_s=seconds, reduce=reduce)

    costs = {}
    watch = Stopwatch()
    count = sum(1 for frame in frames() if frame.rgb is not None)
    costs["decode"] = watch.per_frame(count)
    watch = Stopwatch()
    track = FaceTrack()
    for frame in prefetch(frames()):
        track.add_frame(frame)
    track.finish()
    costs["decode, track"] = watch.per_frame(count)
    watch = Stopwatch()
    crops = read_crops(path, duration_s=seconds)
    costs["decode, track, crop"] = watch.per_frame(count)
    estimator = load_estimator()
    watch = Stopwatch()
    predict_crops(crops, estimator)
    costs["pulse"] = watch.per_frame(count)
    return costs


if __name__ == "__main__":
    main()
