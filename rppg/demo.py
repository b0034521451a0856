"""The main job in one go: train on one camera, evaluate on new people and other cameras."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rppg.atomic import atomic_path
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
"""Those with a codec would take longer to render than everything else together."""


@dataclass(frozen=True)
class Demo:
    """What the demo found.

    Attributes:
        evaluation: every method on every domain.
        training: the network and its log.
        gain: trained less untrained, mean absolute error on the training camera.
        report: where the report lies.
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
    """Train FCUS-rPPG for one epoch on `synthetic:webcam`; evaluate it on `TARGETS`.

    Args:
        out: folder for `report.html`, `metrics.json`, `checkpoint.safetensors` and its JSON.
        seed: of the training run. The test subjects are the same for every seed.
        quick: a fifth of the data, to see that everything runs.
        stage: told what is being done, and how far it is (done, total).
        progress: called after each training step.
    """
    subjects, test_subjects = (12, 4) if quick else (60, 40)

    def telling(what: str) -> Callable[[int, int], None]:
        return lambda done, total: stage(what, done, total) if stage else None

    config = TrainConfig(data=(f"synthetic:{SOURCE}",), subjects=subjects, seed=seed)
    trained = train(config, out=out, progress=progress, loading=telling("training subjects"))
    recordings = [
        recording
        for name in TARGETS
        for recording in open_dataset(
            f"synthetic:{name}",
            split="test",
            subjects=test_subjects,
            progress=telling(f"test subjects of {name}"),
        )
    ]
    low_bpm, high_bpm = find_domain(SOURCE).hr_bpm
    seen = 0

    def evaluated(_: object) -> None:
        nonlocal seen
        seen += 1
        telling("evaluation")(seen, len(recordings))

    evaluation = evaluate(
        recordings,
        {
            "fcus": FcusEstimator(trained.net, config.clip_s),
            "untrained": untrained(config.model, seed),
            "pos": classical("pos"),
            "chrom": classical("chrom"),
            "green": classical("green"),
            "constant": constant_guess((low_bpm + high_bpm) / 2),
        },
        progress=evaluated,
    )
    source = f"synthetic:{DOMAINS[SOURCE].key}"
    gain = paired_difference(evaluation, source, "fcus", "untrained")
    metrics = {
        "seed": seed,
        "made": trained.made,
        "trained_less_untrained": {"dataset": source, **asdict(gain)},
        **json.loads(to_json(evaluation)),
    }
    with atomic_path(out / "metrics.json") as temporary:
        temporary.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    report = write_report(
        out / "report.html",
        evaluation,
        trained.log,
        title=f"FCUS-rPPG, one epoch on {source}",
        settings=trained.made,
    )
    return Demo(evaluation, trained, gain, report)
