"""Cost of a monitor: `python -m benchmarks.live`.

A rendered face, 320 × 240 at 30 frames a second, is pushed frame by frame to a monitor, on one
core. Measured are the CPU time of `push` as a share of the video's time (1 is all of a core), of a
frame and of a reading; the delay from a frame's time to the reading that contains it; and the
memory beside the imports. For comparison the CPU time of `predict` on the same frames. Then the
first seconds are sent to the page's server in real time, as the page sends them, and the frames are
counted that it would leave out because those before them still wait. CPU times grow, too, if other
programs use the machine: the load average is written along.

Writes `docs/results/live.json` and the table of `docs/how-to/live.md`.
"""

import os
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from websockets.sync.client import connect

from benchmarks.results import arguments, markdown_table, replace_tables, write_json
from benchmarks.throughput.process import memory_mb
from benchmarks.throughput.videos import long_video
from rppg.estimators.find import load_estimator
from rppg.live import Monitor, Reading
from rppg.live.frame_message import pack_frame
from rppg.live.serving import bind_server
from rppg.predict import predict
from rppg.video import read_frames

PAGE = Path("docs/how-to/live.md")
BEGIN, END = "<!-- table: python -m benchmarks.live -->", "<!-- end of the table -->"
SIZE = (320, 240)
SETTLED_S = 40.0
"""From here on the buffer is full, and a reading costs what it always will."""
SENT_S = 60.0
"""Length of what is sent in real time."""
MOST_WAITING = 2
"""Frames that wait for the server before the page leaves one out, as in `page/main.js`."""


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
    result["left_out"], result["sent"] = sent(video, estimator)
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


def sent(video: Path, estimator: Any) -> tuple[int, int]:
    """Send frames to a server in real time; return how many were left out, and how many not."""
    live = bind_server(lambda: Monitor(estimator=estimator))
    thread = threading.Thread(target=live.run, daemon=True)
    thread.start()
    url = urlsplit(live.url)
    left_out = count = 0
    with connect(
        f"ws://{url.netloc}/frames",
        origin=f"{url.scheme}://{url.netloc}",
        subprotocols=["rppg", url.fragment],
        compression=None,
        max_queue=None,
    ) as connection:
        started = time.monotonic()
        for frame in islice(read_frames(video), round(30 * SENT_S)):
            late_s = time.monotonic() - started - frame.time_s
            if late_s > MOST_WAITING / 30:
                left_out += 1
                continue
            time.sleep(max(0.0, -late_s))
            connection.send(pack_frame(frame.rgb, frame.time_s))
            count += 1
    live.server.should_exit = True
    thread.join()
    return left_out, count


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
            [
                f"frames left out in {SENT_S:g} s, sent in real time",
                f"{result['left_out']} of {result['left_out'] + result['sent']}",
            ],
            ["memory beside the imports, at its peak", f"{result['memory_mb']:.0f} MB"],
            ["load average of the machine", f"{result['load_average'][0]:.1f}"],
        ],
        align=["---:"],
    )


if __name__ == "__main__":
    main()
