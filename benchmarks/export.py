"""Speed of the exported network and of PyTorch: `python -m benchmarks.export`.

Exports the shipped network to ONNX, then runs it in onnxruntime and in PyTorch alternately, on one
thread each, on clips of several lengths. Prints the ratio of the times (above 1: onnxruntime is
faster), and the largest difference of the BVP in units of its standard deviation; writes
`docs/results/export.json`.
"""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from benchmarks.results import arguments, write_json
from rppg.export.network import export
from rppg.models.checkpoint import load_checkpoint
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.subjects import draw_subject, render_crops

CLIPS = ((1, 10), (4, 10), (1, 30), (1, 60))
"""Number of clips in a batch, and their length in seconds."""


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__, "export")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    net, _ = load_checkpoint()
    seconds = max(length for _, length in CLIPS)
    crops = render_crops(draw_subject(DOMAINS["lab"], 7, float(seconds))).frames
    frames = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = export(None, Path(folder) / "net.onnx", "onnx", frames.shape[-1])
        export_s = time.perf_counter() - started
        size = done.path.stat().st_size
        single = onnxruntime.SessionOptions()
        single.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(done.path, single)
    rows = []
    for batch, length in CLIPS:
        clips = np.stack([frames[: round(length * done.metadata.fps)]] * batch)
        row = measure(net, session, clips, options.rounds)
        rows.append({"clips": batch, "seconds": length, **row})
        print(
            f"{batch} × {length:2d} s  onnxruntime {row['onnxruntime_ms'][0]:7.1f} ms  PyTorch "
            f"{row['pytorch_ms'][0]:7.1f} ms  ratio {row['ratio']:.2f}  "
            f"difference {row['difference']:.1e}",
            flush=True,
        )
    document = {
        "settings": {
            "rounds": options.rounds,
            "threads": 1,
            "crop": frames.shape[-1],
            "machine": platform.machine(),
            "load_average": [round(load, 2) for load in os.getloadavg()],
            "versions": {
                name: version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime")
            },
        },
        "export_s": round(export_s, 1),
        "onnx_bytes": size,
        "clips": rows,
    }
    write_json(options.out, document)


def measure(
    net: torch.nn.Module, session: onnxruntime.InferenceSession, clips: Any, rounds: int
) -> dict[str, Any]:
    """Return median, lowest and highest milliseconds of each, their ratio, and the difference."""
    pixels = torch.from_numpy(clips)

    def by_pytorch() -> Any:
        with torch.inference_mode():
            return net.wave(net(pixels)).numpy()

    def by_onnxruntime() -> Any:
        return session.run(["bvp"], {"clips": clips})[0]

    expected, exported = by_pytorch(), by_onnxruntime()
    times: dict[str, list[float]] = {"onnxruntime": [], "pytorch": []}
    for _ in range(rounds):
        times["onnxruntime"].append(milliseconds(by_onnxruntime))
        times["pytorch"].append(milliseconds(by_pytorch))
    ratios = [p / o for o, p in zip(times["onnxruntime"], times["pytorch"], strict=True)]
    return {
        **{
            f"{name}_ms": [round(v, 2) for v in (statistics.median(t), min(t), max(t))]
            for name, t in times.items()
        },
        "ratio": round(statistics.median(ratios), 3),
        "difference": float(f"{np.max(np.abs(exported - expected)) / np.std(expected):.2g}"),
    }


def milliseconds(run: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - started)


if __name__ == "__main__":
    main()
