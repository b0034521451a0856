"""gradreg's wrappers outside rPPG: `python -m benchmarks.reuse`.

Tunes every variant with the same budget, evaluates the winners on other seeds, prints the tables,
and writes `docs/results/reuse.json` and the tables in `docs/reuse.md`. Finished trials are stored
in `runs/reuse.json`, so an interrupted program continues. `--quick` shortens the trainings, only to
see that everything works, and writes to `runs/` only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.results import replace_tables, write_json
from benchmarks.reuse.protocol import FULL, QUICK, run_all
from benchmarks.reuse.report import BEGIN, END, as_json, tables
from benchmarks.reuse.tasks import TASKS
from benchmarks.reuse.trials import Trials


def main() -> None:
    """Tune, evaluate, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reuse", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="about a minute; short trainings")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--trials", type=Path, help="file of finished trials")
    parser.add_argument("--runs", type=Path, dest="trials", help=argparse.SUPPRESS)  # its old name
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--page", type=Path, help="page whose tables are replaced")
    options = parser.parse_args()
    name = "reuse-quick.json" if options.quick else "reuse.json"
    budget = QUICK if options.quick else FULL
    trials = Trials(options.trials or Path("runs") / name)
    rows = run_all(options.tasks, budget, trials, quick=options.quick, workers=options.workers)
    text = tables(rows)
    print(text)
    whole = not options.quick and len(options.tasks) == len(TASKS)
    out = options.out or (Path("docs/results/reuse.json") if whole else None)
    page = options.page or (Path("docs/reuse.md") if whole else None)
    if out is not None:
        write_json(out, as_json(rows, budget))
    if page is not None:
        replace_tables(page, text, BEGIN, END)


if __name__ == "__main__":
    main()
