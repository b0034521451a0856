"""The command line of the programs that compute the benchmarks' own trials."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.results import arguments
from benchmarks.trials.store import NEW
from benchmarks.trials.trial_settings import ARMS, Trial
from rppg.synthetic.domains import DOMAINS


@dataclass(frozen=True)
class Budget:
    """The size of a study.

    Attributes:
        sources: domains to train on.
        seeds: number of FCUS's seeds.
        epochs: of FCUS.
        subjects: number of recordings that each method trains on.
        test_subjects: number of subjects to evaluate on, in each of the five domains.
        curve_subjects: the same, for peers, of which PhysNet is slow.
        split: whose subjects to evaluate on.
        dead: shares of the training recordings without a pulse.
        arms: what is done about them; see `ARMS`.
    """

    sources: tuple[str, ...]
    seeds: int
    epochs: int = 1
    subjects: int = 60
    test_subjects: int = 40
    curve_subjects: int = 10
    split: str = "test"
    dead: tuple[float, ...] = (0.0, 0.3, 0.6)
    arms: tuple[str, ...] = tuple(ARMS)

    def trial(self, method: str, source: str = "", seed: int = 0, **changes: Any) -> Trial:
        """Return a trial of this size."""
        size = {
            "epochs": self.epochs,
            "subjects": self.subjects,
            "split": self.split,
            "test_subjects": self.test_subjects,
            "curve_subjects": self.curve_subjects,
        }
        return Trial(method, source, seed, **(size | changes))


@dataclass(frozen=True)
class Options:
    """The parsed command line.

    Attributes:
        budget: the size of the study.
        quick: whether it is the small one, to see that everything works.
        jobs: number of processes.
        trials: folder of finished trials that aren't packed yet.
        out: JSON to write; the figure is written beside it.
        command: the command itself.
    """

    budget: Budget
    quick: bool
    jobs: int
    trials: Path
    out: Path
    command: str

    @property
    def about(self) -> dict[str, Any]:
        """What the JSON says of the study."""
        return {
            "settings": asdict(self.budget),
            "seeds": list(range(self.budget.seeds)),
        }


def parse(
    name: str, doc: str, quick: Budget, full: Budget, command_line: Sequence[str] | None = None
) -> Options:
    """Return the options of the study called `name`."""
    parser = arguments(doc, name)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true", help="minutes: to see that it works")
    size.add_argument("--full", action="store_true", help="hours: the numbers in the docs")
    parser.add_argument("--sources", nargs="+", choices=tuple(DOMAINS), metavar="DOMAIN")
    parser.add_argument("--dead", nargs="+", type=float, help="shares without a pulse")
    parser.add_argument("--arms", nargs="+", choices=tuple(ARMS), help="what is done about them")
    parser.add_argument("--split", choices=("test", "validation"), help="validation: for tuning")
    counts = ("seeds", "epochs", "subjects", "test-subjects", "curve-subjects")
    for count in counts:
        parser.add_argument(f"--{count}", type=int)
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    parser.add_argument(
        "--trials", type=Path, default=NEW, help="folder of finished trials that aren't packed yet"
    )
    parser.add_argument("--runs", type=Path, dest="trials", help=argparse.SUPPRESS)  # its old name
    values = parser.parse_args(command_line)
    chosen = {
        field: getattr(values, field)
        for field in asdict(full)
        if getattr(values, field, None) is not None
    }
    chosen |= {name: tuple(chosen[name]) for name in ("sources", "dead", "arms") if name in chosen}
    words = sys.argv[1:] if command_line is None else command_line
    return Options(
        budget=replace(full if values.full else quick, **chosen),
        quick=values.quick,
        jobs=values.jobs,
        trials=values.trials,
        out=values.out,
        command=" ".join([f"python -m benchmarks.{name}", *words]),
    )
