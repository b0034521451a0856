"""Errors after a second compression: `python -m benchmarks.reencoding`.

Test subjects of each synthetic domain as the video files that `rppg synthesize` writes, and the
same files encoded again as a messenger or a website does: H.264 at 300 kbit/s, a keyframe a second.
Both are opened, decoded, and their faces detected and tracked, like any video. Prints, for each
domain, the mean absolute errors in 10 s windows before and after, and their ratio with its 95 %
interval over subjects; last, which claims hold. Writes `docs/results/reencoding.json` after each
domain, so an interrupted program continues (`--again` starts from scratch).
"""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import accuracy, subject_errors
from benchmarks.measure_domains import chosen_domains, measure_domains, tested_arguments
from benchmarks.study.output import Claim, print_claims
from rppg.data.specs import open_dataset
from rppg.data.synthetic_dataset import MANIFEST, write_dataset
from rppg.estimators.fcus import untrained
from rppg.estimators.find import find_estimator
from rppg.evaluation import evaluate
from rppg.evaluation.resampling import percentile_interval
from rppg.synthetic.cache import SPLITS
from rppg.synthetic.domains import Domain
from rppg.video.decode_video import probe, read_frames
from rppg.video.encode import write_video
from rppg.video.encoding import Encoding
from rppg.video.threads import one_thread

BIT_RATE, KEYFRAME_S = 300_000, 1.0
CLAIMED, MOST = ("lab", "webcam", "wild"), 1.5
"""Domains of the claim, and the highest ratio of the errors."""
OURS = "fcus"
DRAWS = 10_000


def main() -> None:
    """Measure, print, write."""
    options = tested_arguments(__doc__, "reencoding", subjects=12).parse_args()
    settings = {
        "split": options.split,
        "subjects": options.subjects,
        "window_s": 10.0,
        "bit_rate": BIT_RATE,
        "keyframe_s": KEYFRAME_S,
    }
    found: dict[str, dict[str, Any]] = {}

    def report(domain: Domain, row: dict[str, Any]) -> None:
        found[domain.name] = row
        cells = (
            f"{name} {method['before']['mae_bpm']:.2f} → {method['after']['mae_bpm']:.2f}"
            for name, method in row.items()
        )
        print(f"{domain.key:9} {'  '.join(cells)}", flush=True)

    measure_domains(
        options.out,
        settings,
        lambda domain: measure(domain, options.split, options.subjects),
        again=options.again,
        report=report,
        domains=chosen_domains(options),
    )
    print_claims([claim(name, found[name]) for name in CLAIMED if name in found])


def claim(name: str, row: Mapping[str, Any]) -> Claim:
    """Return the claim about a domain."""
    ratio, (low, high) = row[OURS]["ratio"], row[OURS]["interval"]
    return Claim(
        f"{name}: error after at most {MOST} × that before",
        f"{ratio:.2f} ({low:.2f} to {high:.2f})",
        ratio <= MOST,
    )


def measure(domain: Domain, split: str, subjects: int) -> dict[str, Any]:
    """Return each method's accuracy before and after, and the ratio of its errors."""
    methods = {name: find_estimator(name) for name in ("pos+skin", OURS)}
    methods["untrained"] = untrained()
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before", Path(folder) / "after"
        spec = write_dataset(
            domain.name, before, layout=MANIFEST, subjects=subjects, first=SPLITS[split]
        )
        reencode_dataset(before, after)
        both = [
            evaluate(open_dataset(s, split="test", subjects=subjects), methods).windows
            for s in (spec, spec.replace(str(before), str(after)))
        ]
    return {
        name: {
            "before": asdict(accuracy(both[0], name)),
            "after": asdict(accuracy(both[1], name)),
            **_ratio(subject_errors(both[0], name), subject_errors(both[1], name)),
        }
        for name in methods
    }


@one_thread()  # torch's threads and the encoder's would wait for each other
def reencode_dataset(before: Path, after: Path) -> None:
    """Copy a dataset's folder, with its videos encoded again."""
    after.mkdir()
    for file in sorted(before.iterdir()):
        if file.suffix == ".mp4":
            reencode(file, after / file.name)
        else:
            shutil.copy(file, after)


def reencode(source: Path, out: Path) -> None:
    """Encode a video again, with its own times."""
    times_s = [frame.time_s for frame in read_frames(source)]
    interval = max(1, round(KEYFRAME_S * probe(source).fps))
    encoding = Encoding("libx264", bit_rate=BIT_RATE, keyframe_interval=interval)
    frames = (frame.rgb for frame in read_frames(source))
    write_video(out, frames, times_s=times_s, encoding=encoding)


def _ratio(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, Any]:
    """Return the ratio of mean errors, with its 95 % interval over subjects."""
    shared = sorted(before.keys() & after.keys())
    errors = np.array([[person[name] for name in shared] for person in (before, after)])
    draws = np.random.default_rng(0).integers(len(shared), size=(DRAWS, len(shared)))
    means = errors[:, draws].mean(-1)
    ratio = errors[1].mean() / errors[0].mean()
    interval = percentile_interval(means[1] / means[0])
    return {"ratio": round(float(ratio), 3), "interval": [round(float(x), 3) for x in interval]}


if __name__ == "__main__":
    main()
