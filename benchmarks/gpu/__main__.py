"""Everything that needs a CUDA device, in under nine minutes: `python -m benchmarks.gpu`.

The CUDA tests, one epoch of each method on the device and on the CPU, the speed of prediction, and
the published trainings of the peers as far as time allows. The result is `docs/results/gpu/`, with
a file for each device, which is written anew after each part. With `--dry` all of it runs on the
CPU, with tiny sizes, and nothing is written unless `--out` says where.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

FOLDER = Path("docs/results/gpu")
NEEDED = ("torch", "numpy", "safetensors")
MINUTES = 8.5
STARTING_S = 10.0
"""What is left for starting and ending processes."""


def main(command_line: Sequence[str] | None = None) -> None:
    """Run all parts."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--dry", action="store_true", help="tiny sizes on the CPU: only to see that it runs"
    )
    parser.add_argument("--out", type=Path, help=f"JSON to write (default: {FOLDER}/DEVICE.json)")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all parts together")
    options = parser.parse_args(command_line)
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        parser.error(
            f"{sys.executable} lacks {', '.join(missing)}; use an interpreter that has "
            f"{', '.join(NEEDED)}, as in make gpu PYTHON=/path/to/python"
        )
    import torch  # noqa: PLC0415  # it may be missing

    if not options.dry and not torch.cuda.is_available():
        parser.error(
            f"torch {torch.__version__} finds no CUDA device; run it on a machine that has one, "
            "or see with --dry, on the CPU, that it runs"
        )
    run_all(options, started)


def run_all(options: argparse.Namespace, started: float) -> None:
    """Run the parts one after the other, and write the result after each."""
    from benchmarks.gpu.machine import describe, file_name  # noqa: PLC0415  # needs torch
    from benchmarks.gpu.parts import LIMITS_S, run_part  # noqa: PLC0415
    from benchmarks.results import write_json  # noqa: PLC0415

    device = "cpu" if options.dry else "cuda"
    machine = describe(device)
    out: Path | None = options.out
    if out is None and not options.dry:
        out = FOLDER / file_name(machine["device"])
    parts: dict[str, Any] = {}
    document = {"dry": options.dry, "minutes": options.minutes, "machine": machine, "parts": parts}
    if out is not None:  # before the work, should it not be writable
        write_json(out, document, allow_nan=False)
    for name, limit_s in LIMITS_S.items():
        left_s = 60 * options.minutes - STARTING_S - (time.monotonic() - started)
        if left_s < 1:
            parts[name] = {"status": "left out", "reason": "no time was left"}
        else:
            limit = left_s if options.dry else min(limit_s, left_s)
            parts[name] = asdict(run_part(name, device=device, dry=options.dry, limit_s=limit))
        document["seconds"] = round(time.monotonic() - started, 1)
        if out is not None:
            write_json(out, document, allow_nan=False)
        about = f": {parts[name]['reason']}" if parts[name]["reason"] else ""
        print(f"{name}: {parts[name]['status']}, {parts[name].get('seconds', 0)} s{about}")
        sys.stdout.flush()
    print(f"Written: {out}" if out is not None else "Nothing is written; --out FILE writes it")


if __name__ == "__main__":
    main()
