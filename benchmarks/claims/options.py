"""The command line of the three programs, and what they leave."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

import rppg
from benchmarks.claims.runs import PEERS, Run
from rppg.atomic import atomic_path
from rppg.report.figure_style import in_house_style
from rppg.synthetic.domains import DOMAINS


@dataclass(frozen=True)
class Budget:
    """How much is run.

    Attributes:
        sources: domains to train on.
        seeds: of FCUS.
        epochs: of FCUS.
        subjects: recordings that each learner trains on.
        test_subjects: in each of the five domains.
        peers: which of them.
        peer_seeds: of the peers.
        peer_minutes: of a peer's training.
        curve_subjects: at those of a peer's points that its criterion does not pick.
        published: whether the peers' constants are the published ones, which take days.
        split: whom to evaluate on.
        steady: whether FCUS is trained with the settings for several epochs.
    """

    sources: tuple[str, ...]
    seeds: int
    epochs: int = 1
    subjects: int = 60
    test_subjects: int = 40
    peers: tuple[str, ...] = PEERS
    peer_seeds: int = 1
    peer_minutes: float = 12.0
    curve_subjects: int = 10
    published: bool = False
    split: str = "test"
    steady: bool = False

    def run(self, learner: str, source: str = "", seed: int = 0, **given: Any) -> Run:
        """A unit of work within this budget."""
        budget = Run(
            learner,
            source,
            seed,
            epochs=self.epochs,
            subjects=self.subjects,
            minutes=self.peer_minutes,
            published=self.published,
            split=self.split,
            steady=self.steady,
            test_subjects=self.test_subjects,
            curve_subjects=self.curve_subjects,
        )
        return replace(budget, **given)


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    budget: Budget
    jobs: int
    runs: Path
    out: Path
    command: str


@dataclass(frozen=True)
class Claim:
    """What is claimed, what was found, and whether it holds; None where nothing can be said."""

    claim: str
    found: str
    holds: bool | None


def parse(
    name: str, doc: str, quick: Budget, full: Budget, arguments: Sequence[str] | None = None
) -> Options:
    """The options of the program called `name`."""
    parser = argparse.ArgumentParser(prog=f"benchmarks.{name}", description=doc.splitlines()[0])
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--quick", action="store_true", help="minutes: to see that it runs")
    size.add_argument("--full", action="store_true", help="hours: the numbers in the docs")
    parser.add_argument("--sources", nargs="+", choices=tuple(DOMAINS), metavar="DOMAIN")
    parser.add_argument("--peers", nargs="*", choices=PEERS, help="which; none: leave them out")
    parser.add_argument("--split", choices=("test", "validation"), help="validation: for tuning")
    counts = ("seeds", "epochs", "subjects", "test-subjects", "peer-seeds", "curve-subjects")
    for count in counts:
        parser.add_argument(f"--{count}", type=int)
    parser.add_argument("--peer-minutes", type=float)
    parser.add_argument(
        "--published", action="store_true", default=None, help="the peers' published constants"
    )
    parser.add_argument(
        "--steady", action="store_true", default=None, help="FCUS's settings for several epochs"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the runs")
    parser.add_argument(
        "--runs", type=Path, default=Path("docs/results/runs"), help="finished runs"
    )
    parser.add_argument("--out", type=Path, default=Path(f"docs/results/{name}.json"))
    given = parser.parse_args(arguments)
    chosen = {
        field: getattr(given, field)
        for field in asdict(full)
        if getattr(given, field, None) is not None
    }
    chosen |= {name: tuple(chosen[name]) for name in ("sources", "peers") if name in chosen}
    words = sys.argv[1:] if arguments is None else arguments
    return Options(
        budget=replace(full if given.full else quick, **chosen),
        jobs=given.jobs,
        runs=given.runs,
        out=given.out,
        command=" ".join([f"python -m benchmarks.{name}", *words]),
    )


def show_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print(f"\n{title}\n")
    print("| " + " | ".join(head) + " |")
    print("| --- " * len(head) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def show_claims(claims: Sequence[Claim]) -> None:
    """Print which claims hold."""
    words = {True: "yes", False: "NO", None: "not asked"}
    show_table(
        "Claims", ("claim", "found", "holds"), [(c.claim, c.found, words[c.holds]) for c in claims]
    )


@in_house_style  # the names within an SVG are drawn when it is saved
def write(
    options: Options, found: Mapping[str, Any], claims: Sequence[Claim], picture: Figure
) -> None:
    """Write the JSON, and the figure beside it."""
    result = {
        "command": options.command,
        "settings": asdict(options.budget),
        "seeds": list(range(options.budget.seeds)),
        "peer_seeds": list(range(options.budget.peer_seeds)),
        "domains": [domain.key for domain in DOMAINS.values()],
        "versions": {"rppg": rppg.__version__, "torch": torch.__version__},
        "machine": {"cpus": os.cpu_count(), "jobs": options.jobs, "threads": 1},
        "claims": [asdict(claim) for claim in claims],
        **found,
    }
    with atomic_path(options.out) as temporary:
        text = json.dumps(_rounded(result), indent=1, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    with atomic_path(options.out.with_suffix(".svg")) as temporary:
        picture.savefig(temporary, metadata={"Date": None})
    print(f"\n{options.out} and {options.out.with_suffix('.svg').name} are written")


def spread(values: Sequence[float]) -> str:
    """Median, and lowest to highest where they differ."""
    ordered = sorted(values)
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    ends = f"{ordered[0]:.2f}–{ordered[-1]:.2f}"
    return f"{middle:.2f}" + (f" ({ends})" if f"{ordered[0]:.2f}" != f"{ordered[-1]:.2f}" else "")


def _rounded(value: Any) -> Any:
    """Four decimals; what is no number is null, as JSON knows no NaN."""
    if isinstance(value, float):
        return round(value, 4) if abs(value) < float("inf") else None
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
