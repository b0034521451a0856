"""gradreg's wrappers outside rPPG: `python -m benchmarks.reuse [--quick]`.

Tunes every variant with the same budget, runs the table on other seeds, prints it, and writes
`docs/results/reuse.json` and the tables in `docs/reuse.md`. Finished runs are kept in
`runs/reuse.json`; broken off, it goes on from there. `--quick` makes short runs that are worth
nothing, to see that everything works, and writes nothing but to `runs/`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.reuse.protocol import FULL, QUICK, run_all
from benchmarks.reuse.report import as_json, insert, tables
from benchmarks.reuse.runs import Runs
from benchmarks.reuse.tasks import TASKS
from rppg.atomic import atomic_path


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reuse", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute; short runs")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--runs", type=Path, help="where finished runs are kept")
    parser.add_argument("--out", type=Path, help="where the results go")
    parser.add_argument("--page", type=Path, help="the page whose tables are renewed")
    options = parser.parse_args()
    name = "reuse-quick.json" if options.quick else "reuse.json"
    budget = QUICK if options.quick else FULL
    runs = Runs(options.runs or Path("runs") / name)
    rows = run_all(options.tasks, budget, runs, quick=options.quick, workers=options.workers)
    text = tables(rows)
    print(text)
    whole = not options.quick and len(options.tasks) == len(TASKS)
    out = options.out or (Path("docs/results/reuse.json") if whole else None)
    page = options.page or (Path("docs/reuse.md") if whole else None)
    if out is not None:
        with atomic_path(out) as temporary:
            result = json.dumps(as_json(rows, budget), indent=1)
            temporary.write_text(result + "\n", encoding="utf-8")
    if page is not None:
        page.write_text(insert(page.read_text(encoding="utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main()
