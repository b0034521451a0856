"""Speed of open-rppg on one video, in its own environment.

It is also imported as `rppg`, so this file is run by its path, with that environment's Python.
Arguments: the model, the video, the monotonic time at which the process was started.
"""

import sys
import time

from process import Stopwatch, memory_mb, print_json

import rppg


def main() -> None:
    """Measure and print."""
    model, path, started = sys.argv[1:]
    imports_mb = memory_mb("VmRSS")
    network = rppg.Model(model)
    startup_s = time.monotonic() - float(started)
    watch = Stopwatch()
    network.process_video(path)
    frames = network.statistic["frames"]
    print_json(
        {
            "startup_s": startup_s,
            "frames": frames,
            **watch.per_frame(frames),
            "imports_mb": imports_mb,
            "peak_mb": memory_mb("VmHWM") - imports_mb,
        }
    )


if __name__ == "__main__":
    main()
