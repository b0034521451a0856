"""How large should face crops be? `python -m benchmarks.crop_size`.

Validation subjects of each synthetic domain, rendered as videos in the layout of the public dataset
that the domain imitates; their faces are detected and tracked once for each size of the crops.
Prints, for each domain and size in pixels, the mean absolute error in 10 s windows and the median
SNR. Writes `docs/results/crop_size.json` after each domain, and continues from it.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure_domains import domain_arguments, measure_domains
from rppg.data.specs import open_dataset
from rppg.data.synthetic_dataset import write_dataset
from rppg.estimators.fcus import untrained
from rppg.estimators.find import load_estimator
from rppg.evaluation import classical, evaluate
from rppg.synthetic.cache import SPLITS
from rppg.synthetic.domains import Domain

SIZES = (36, 48, 54, 72)


def main() -> None:
    """Measure, print, write."""
    options = domain_arguments(__doc__, "crop_size", subjects=12).parse_args()
    settings = {"split": "validation", "subjects": options.subjects, "seconds": 20.0}
    measure_domains(
        options.out,
        settings,
        lambda domain: measure(domain, options.subjects),
        again=options.again,
        report=show,
    )


def measure(domain: Domain, subjects: int) -> dict[str, Any]:
    """Return error and SNR by size and method."""
    methods = {
        "fcus": load_estimator(),
        "untrained": untrained(),
        "pos": classical("pos"),
        "pos+skin": classical("pos", skin=True),
    }
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        spec = write_dataset(
            domain.name,
            Path(folder) / "data",
            subjects=subjects,
            first=SPLITS["validation"],
            duration_s=20.0,
        )
        recordings = open_dataset(spec, split="test", subjects=subjects)
        for size in SIZES:
            sized = [replace(r, load_crops=replace(r.load_crops, size=size)) for r in recordings]
            found = evaluate(sized, methods)
            result[str(size)] = {
                score.method: {
                    "mae_bpm": round(score.mae_bpm.value, 3),
                    "mae_se": round(score.mae_bpm.se, 3),
                    "snr_db": round(
                        float(
                            np.nanmedian(
                                [w.snr_db for w in found.windows if w.method == score.method]
                            )
                        ),
                        3,
                    ),
                    "windows": score.n,
                }
                for score in found.summary()
            }
    return result


def show(domain: Domain, sizes: dict[str, Any]) -> None:
    """Print a domain's rows."""
    for size, row in sizes.items():
        cells = "  ".join(
            f"{method} {cell['mae_bpm']:6.2f} ± {cell['mae_se']:.2f}, {cell['snr_db']:+.2f} dB"
            for method, cell in row.items()
        )
        print(f"{domain.key:9} {size:>3} px  {cells}", flush=True)


if __name__ == "__main__":
    main()
