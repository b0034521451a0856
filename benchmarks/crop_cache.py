"""Speed of the cache of face crops: `python -m benchmarks.crop_cache`.

Rendered recordings of 20 s in COHFACE's layout. Prints the seconds to read all crops from the
videos, to fill an empty cache in this process and in several, and to read them from the cache.
Writes `docs/results/crop_cache.json`.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.results import arguments, write_json
from rppg.crops.cache import store
from rppg.data.specs import open_dataset
from rppg.data.synthetic_dataset import write_dataset
from rppg.processes import usable_cpus
from rppg.types import Recording


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__, "crop_cache")
    parser.add_argument("--subjects", type=int, default=24)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        spec = write_dataset(
            "webcam", root / "data", layout="cohface", subjects=options.subjects, duration_s=20
        )
        recordings = open_dataset(spec, split="train", subjects=options.subjects)
        seconds = {"no cache": _read(recordings)}
        for workers in (1, usable_cpus()):
            seconds[f"filled by {workers}"] = _fill(recordings, root / str(workers), workers)
        seconds["from the cache"] = _read(store(recordings).recordings)
        stored_bytes = sum(file.stat().st_size for file in (root / "1").rglob("*.safetensors"))
    base = seconds["no cache"]
    for name, value in seconds.items():
        print(f"{name:16} {value:6.2f} s  {value / base:5.2f}")
    result = {
        "recordings": len(recordings),
        "video_s": 20 * len(recordings),
        "kept_mb": round(stored_bytes / 1e6, 1),
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "ratio": {name: round(value / base, 4) for name, value in seconds.items()},
    }
    write_json(options.out, result)


def _read(recordings: Sequence[Recording]) -> float:
    started = time.perf_counter()
    for recording in recordings:
        recording.load_crops()
    return time.perf_counter() - started


def _fill(recordings: Sequence[Recording], folder: Path, workers: int) -> float:
    os.environ["RPPG_CACHE"] = str(folder)
    started = time.perf_counter()
    stored = store(recordings, workers=workers)
    if stored.built != len(recordings):
        raise RuntimeError(f"{stored.built} of {len(recordings)} recordings were read")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
