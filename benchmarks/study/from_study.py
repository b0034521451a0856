"""Studies of the package (`rppg benchmark`), run by the programs that compute our claims from them.

A program's study is `benchmarks/studies/NAME.toml`; its trials are kept in `docs/results/studies`.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results import RESULTS, arguments
from benchmarks.timed_jobs import print_at_once
from benchmarks.trials.store import Result
from benchmarks.trials.trial_settings import PATIENCE, PEER_SETTINGS, PEERS
from rppg.study.config import StudyConfig, read_study
from rppg.study.key import Job
from rppg.study.plan import Trial
from rppg.study.run import Shard, fill_cache, prepare, run_missing
from rppg.study.store import Result as Stored
from rppg.study.store import Store
from rppg.synthetic.all_domains import ALL_DOMAINS

STUDIES = Path(__file__).parents[1] / "studies"
KEPT = RESULTS / "studies"
COUNTS = ("seeds", "subjects", "test_subjects")
COLUMNS = {
    "subject": "subject",
    "true_bpm": "hr_true_bpm",
    "pred_bpm": "hr_pred_bpm",
    "snr_db": "snr_db",
}
"""The columns of a point's windows, and their names in a study."""


@dataclass(frozen=True)
class StudyOptions:
    """The parsed command line of a program.

    Attributes:
        study: its study.
        quick: whether it is the small one, to see that everything works.
        folder: of the trials, as of `rppg benchmark --out`.
        jobs: number of processes.
        out: JSON to write; the figure is written beside it.
        command: the command itself.
    """

    study: StudyConfig
    quick: bool
    folder: Path
    jobs: int
    out: Path
    command: str

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the datasets trained on."""
        return tuple(dataset.name for dataset in self.study.training_data)

    @property
    def about(self) -> dict[str, Any]:
        """What the program's JSON says of the study."""
        return {
            "settings": self.study.model_dump(mode="json"),
            "seeds": list(range(self.study.seeds)),
        }


def parse_study(
    name: str, doc: str, quick: Mapping[str, Any], command_line: Sequence[str] | None = None
) -> StudyOptions:
    """Return the options of a program.

    Args:
        name: the program's, without `benchmarks.`.
        doc: its docstring.
        quick: fields of its study that `--quick` changes.
        command_line: the process's if None.
    """
    parser = arguments(doc, name)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true", help="minutes: to see that it works")
    size.add_argument("--full", action="store_true", help="hours: the numbers in the docs")
    parser.add_argument("--config", type=Path, default=STUDIES / f"{name}.toml", help="the study")
    parser.add_argument("--sources", nargs="+", choices=tuple(ALL_DOMAINS), metavar="DOMAIN")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=(), help="peers to add")
    parser.add_argument("--split", choices=("test", "validation"), help="validation: for tuning")
    for count in COUNTS:
        parser.add_argument(f"--{count.replace('_', '-')}", type=int)
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    parser.add_argument("--trials", type=Path, default=KEPT / name, help="folder of the trials")
    values = parser.parse_args(command_line)
    words = sys.argv[1:] if command_line is None else command_line
    return StudyOptions(
        study=read_study(values.config, _chosen(values, quick)),
        quick=values.quick,
        folder=values.trials,
        jobs=values.jobs,
        out=values.out,
        command=" ".join([f"python -m benchmarks.{name}", *words]),
    )


def _chosen(values: argparse.Namespace, quick: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the study that the command line changes."""
    chosen = dict(quick) if values.quick else {}
    if "settings" in chosen:
        kept = read_study(values.config, {}).settings
        changed = chosen["settings"].items()
        chosen["settings"] = {**kept, **{m: {**kept.get(m, {}), **new} for m, new in changed}}
    chosen |= {count: getattr(values, count) for count in COUNTS if getattr(values, count)}
    if values.sources:
        chosen["train_on"] = tuple(values.sources)
    if values.split:
        chosen["test_split"] = values.split
    if values.peers:
        study = read_study(values.config, chosen)
        ours = {peer: {"patience": PATIENCE, **PEER_SETTINGS[peer]} for peer in values.peers}
        chosen["settings"] = {**ours, **study.settings}
        chosen["methods"] = tuple(dict.fromkeys([*study.methods, *values.peers]))
    return chosen


def run_study(options: StudyOptions, study: StudyConfig | None = None) -> dict[Trial, Result]:
    """Return all trials of a study, as `as_result` does; the missing ones are run.

    Args:
        options: of the program.
        study: another study than the options', whose trials are kept in the same folder.

    Raises:
        SystemExit: a part of the data can't be used.
    """
    prepared = prepare(study or options.study, print_at_once)
    for trial, reason in prepared.skipped.items():
        raise SystemExit(f"{trial.title}: {reason}")
    store = Store(options.folder)
    fill_cache(prepared, store, Shard(), workers=options.jobs)
    run_missing(prepared, store, jobs=options.jobs, report=print_at_once)
    results = {trial: store.load(job) for trial, job in prepared.jobs.items()}
    return {t: as_result(prepared.jobs[t], stored) for t, stored in results.items() if stored}


def as_result(job: Job, stored: Stored) -> Result:
    """Return a stored trial in the form of `benchmarks.trials`, for the same statistics.

    Its points are the epochs that were tested, epoch 0 of what isn't trained.

    Raises:
        SystemExit: a test failed, or left a recording out.
    """
    trial, training = job.trial, stored["training"]
    about = {"method": trial.method, "source": trial.trained_on, "seed": trial.seed}
    result: Result = {"trial": about, "points": [], **training}
    if "failed" in stored:
        return {**result, "failed": stored["failed"]["reason"]}
    by_epoch: dict[int, dict[str, Any]] = {}
    for part, key in zip(trial.tests, job.tests, strict=True):
        test = stored["tests"][key]
        if "failed" in test or test["left_out"]:
            reason = test.get("failed") or test["left_out"][0]
            raise SystemExit(f"{trial.title}: {part.title}: {reason['reason']}")
        for epoch, columns in test["windows"].items():
            windows = {ours: columns[name] for ours, name in COLUMNS.items()}
            by_epoch.setdefault(int(epoch), {})[part.dataset] = windows
    seconds = stored["timing"].get("train_s", {})
    result["points"] = [
        {
            "epoch": epoch,
            "clips": epoch * training.get("clips_per_epoch", 0),
            "train_s": seconds.get(str(epoch), 0.0),
            "targets": by_epoch[epoch],
        }
        for epoch in sorted(by_epoch)
    ]
    return result


def by_source(results: Mapping[Trial, Result], method: str) -> dict[str, list[Result]]:
    """Return a method's results, one per seed, by the dataset trained on."""
    found: dict[str, list[Result]] = {}
    for trial, result in results.items():
        if trial.method == method:
            found.setdefault(result["trial"]["source"], []).append(result)
    return found


def joined(results: Iterable[Result]) -> Result:
    """Return the results of a method that is tested dataset by dataset as one."""
    first, *others = results
    targets = dict(first["points"][0]["targets"])
    for other in others:
        targets |= other["points"][0]["targets"]
    return {**first, "points": [{**first["points"][0], "targets": targets}]}


def add_column(results: Mapping[Trial, Result], name: str, other: Mapping[Trial, Result]) -> None:
    """Add the heart rates of the same trials in another evaluation to the windows, as a column."""
    for trial, found in other.items():
        for point, second in zip(results[trial]["points"], found["points"], strict=True):
            for target, windows in point["targets"].items():
                windows[name] = second["targets"][target]["pred_bpm"]
