"""Demo: train on one synthetic camera, then evaluate on new people and on other cameras."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rppg.atomic import write_text
from rppg.data.specs import open_dataset
from rppg.estimators.fcus import FcusEstimator, untrained
from rppg.evaluation import (
    Difference,
    Evaluation,
    classical,
    constant_guess,
    evaluate,
    paired_difference,
)
from rppg.report import write_report
from rppg.report.result_files import to_json
from rppg.synthetic.cache import find_domain
from rppg.synthetic.domains import DOMAINS
from rppg.train.config import TrainConfig
from rppg.train.run import TrainProgress, TrainResult, train

SOURCE = "webcam"
TARGETS = ("lab", "webcam", "wild")
"""Without the domains with a codec, whose rendering would take longer than all the rest."""


@dataclass(frozen=True)
class Demo:
    """The results of the demo.

    Attributes:
        evaluation: results of every method on every domain.
        training: the trained network and its log.
        gain: mean absolute error on the training camera, trained minus untrained.
        report: path of the report.
    """

    evaluation: Evaluation
    training: TrainResult
    gain: Difference
    report: Path


def demo(
    out: Path,
    *,
    seed: int = 0,
    quick: bool = False,
    stage: Callable[[str, int, int], None] | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
) -> Demo:
    """Train FCUS-rPPG for one epoch on `synthetic:webcam` and evaluate it on `TARGETS`.

    Args:
        out: folder for `report.html`, `metrics.json`, `checkpoint.safetensors` and its JSON.
        seed: seed of the training. The test subjects are the same for every seed.
        quick: use a tenth of the people, to see that everything runs.
        stage: called with the name of a stage, and the number of steps done and in total.
        progress: called after each training step.
    """
    subjects, test_subjects = (6, 4) if quick else (60, 40)

    def progress_of(name: str) -> Callable[[int, int], None]:
        return lambda done, total: stage(name, done, total) if stage else None

    config = TrainConfig(data=(f"synthetic:{SOURCE}",), subjects=subjects, seed=seed)
    trained = train(config, out=out, progress=progress, loading=progress_of("training subjects"))
    recordings = [
        recording
        for name in TARGETS
        for recording in open_dataset(
            f"synthetic:{name}",
            split="test",
            subjects=test_subjects,
            progress=progress_of(f"test subjects of {name}"),
        )
    ]
    low_bpm, high_bpm = find_domain(SOURCE).hr_bpm
    evaluated = 0

    def count(_: object) -> None:
        nonlocal evaluated
        evaluated += 1
        progress_of("evaluation")(evaluated, len(recordings))

    evaluation = evaluate(
        recordings,
        {
            "fcus": FcusEstimator(trained.net, config.clip_s, provenance=trained.provenance),
            "untrained": untrained(config.model, seed),
            "pos": classical("pos"),
            "pos+skin": classical("pos", skin=True),
            "chrom": classical("chrom"),
            "chrom+skin": classical("chrom", skin=True),
            "green": classical("green"),
            "constant": constant_guess((low_bpm + high_bpm) / 2),
        },
        progress=count,
    )
    source = f"synthetic:{DOMAINS[SOURCE].key}"
    gain = paired_difference(evaluation, source, "fcus", "untrained")
    metrics = {
        "seed": seed,
        "made": trained.provenance,
        "trained_less_untrained": {"dataset": source, **asdict(gain)},
        **json.loads(to_json(evaluation)),
    }
    write_text(out / "metrics.json", json.dumps(metrics, indent=1) + "\n")
    report = write_report(
        out / "report.html",
        evaluation,
        trained.log,
        title=f"FCUS-rPPG, one epoch on {source}",
        settings={k: v for k, v in trained.provenance.items() if k != "fingerprints"},
    )
    return Demo(evaluation, trained, gain, report)
