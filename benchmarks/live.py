"""Cost of a monitor: `python -m benchmarks.live`.

A rendered face, 320 × 240 at 30 frames a second, is pushed frame by frame to a monitor, on one
core. Measured are the CPU time of `push` as a share of the video's time (1 is all of a core), of a
frame and of a reading; the delay from a frame's time to the reading that contains it; and the
memory beside the imports. For comparison the CPU time of `predict` on the same frames. CPU times
grow, too, if other programs use the machine: the load average is written along.

Writes `docs/results/live.json` and the table of `docs/how-to/live.md`.
"""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.results import arguments, markdown_table, replace_tables, write_json
from benchmarks.throughput.process import memory_mb
from benchmarks.throughput.videos import long_video
from rppg.estimators.find import load_estimator
from rppg.live import Monitor, Reading
from rppg.predict import predict
from rppg.video import read_frames

PAGE = Path("docs/how-to/live.md")
BEGIN, END = "<!-- table: python -m benchmarks.live -->", "<!-- end of the table -->"
SIZE = (320, 240)
SETTLED_S = 40.0
"""From here on the buffer is full, and a reading costs what it always will."""


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__, "live")
    parser.add_argument("--minutes", type=float, default=2.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    video = long_video(*SIZE, options.minutes)
    estimator = load_estimator()
    imports_mb = memory_mb("VmRSS")
    result = pushed(video, estimator)
    result["memory_mb"] = memory_mb("VmHWM") - imports_mb
    before = time.process_time()
    predict(video, estimator=estimator)
    result["predict_share"] = (time.process_time() - before) / (60 * options.minutes)
    result["load_average"] = [round(load, 2) for load in os.getloadavg()]
    write_json(options.out, {"settings": {"size": SIZE, "minutes": options.minutes}, **result})
    print(table(result))
    if PAGE.exists():
        replace_tables(PAGE, table(result), BEGIN, END)


def pushed(video: Path, estimator: Any) -> dict[str, Any]:
    """Return the cost of all frames after `SETTLED_S`, and the delay of the readings."""
    monitor = Monitor(estimator=estimator)
    frame_s, reading_s, delay_s = [], [], []
    first_s = last_s = 0.0
    for frame in read_frames(video):
        rgb = frame.rgb
        cpu, wall = time.thread_time(), time.perf_counter()
        reading = monitor.push(rgb, frame.time_s)
        cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
        if frame.time_s < SETTLED_S:
            first_s = frame.time_s
            continue
        last_s = frame.time_s
        (frame_s if reading is None else reading_s).append(cpu)
        if isinstance(reading, Reading):
            delay_s.append(frame.time_s - reading.end_s + wall)
    return {
        "share": (sum(frame_s) + sum(reading_s)) / (last_s - first_s),
        "frame_ms": 1e3 * float(np.mean(frame_s)),
        "reading_ms": 1e3 * float(np.mean(reading_s)),
        "delay_median_s": float(np.median(delay_s)),
        "delay_95_s": float(np.quantile(delay_s, 0.95)),
    }


def table(result: dict[str, Any]) -> str:
    """Return the costs as a table."""
    return markdown_table(
        ["", "value"],
        [
            ["CPU time per second of video", f"{result['share']:.2f} s"],
            ["of a frame without a reading", f"{result['frame_ms']:.1f} ms"],
            ["of a frame with a reading", f"{result['reading_ms']:.0f} ms"],
            ["`predict` on the same, per second of video", f"{result['predict_share']:.2f} s"],
            [
                "delay of a reading, median and 95 %",
                f"{result['delay_median_s']:.1f} s, {result['delay_95_s']:.1f} s",
            ],
            ["memory beside the imports, at its peak", f"{result['memory_mb']:.0f} MB"],
            ["load average of the machine", f"{result['load_average'][0]:.1f}"],
        ],
        align=["---:"],
    )


if __name__ == "__main__":
    main()
