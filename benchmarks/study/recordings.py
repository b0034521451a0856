"""Measurements of single recordings, each made once and stored."""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.timed_jobs import Report, print_at_once, run_timed_jobs
from benchmarks.trials.store import COMMITTED, NEW, Store
from rppg.synthetic.cache import PLAIN, SPLITS, synthetic_recordings
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.variations.variation import Variation
from rppg.types import Recording

Measurement = dict[str, Any]
"""JSON values: what was measured of a recording, and `key` and `code`."""

Measure = Callable[[Recording], dict[str, Any]]
"""A function at the top level of a module, since processes import it."""


@dataclass(frozen=True)
class Condition:
    """The first `count` recordings of a domain's split, with options."""

    domain: str
    split: str
    count: int
    variation: Variation = PLAIN

    @property
    def title(self) -> str:
        """Its name in progress reports."""
        options = self.variation.text
        return f"{self.domain}{f'?{options}' if options else ''}"


def recording_store(program: str, folder: Path = NEW) -> Store:
    """Return the store of a program's measurements; single files are in `folder`."""
    return Store(COMMITTED / f"{program}_recordings.jsonl", folder / program)


def parse_with_recordings(
    parser: argparse.ArgumentParser, command_line: Sequence[str] | None, *, subjects: int, unit: str
) -> argparse.Namespace:
    """Return a program's options, with those that choose its recordings.

    Args:
        parser: of the program's own options.
        command_line: the process's if None.
        subjects: by default, of each domain and unit.
        unit: what a domain is divided by, in the help.
    """
    parser.add_argument("--quick", action="store_true", help="minutes: lab and webcam, 3 subjects")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--domains", nargs="+", choices=tuple(DOMAINS), metavar="DOMAIN")
    parser.add_argument(
        "--subjects", type=int, help=f"of each domain and {unit} (default: {subjects})"
    )
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    options = parser.parse_args(command_line)
    options.domains = options.domains or (("lab", "webcam") if options.quick else tuple(DOMAINS))
    options.subjects = options.subjects or (3 if options.quick else subjects)
    return options


def measure_recordings(
    measure: Measure,
    conditions: Sequence[Condition],
    store: Store,
    code: str,
    *,
    jobs: int = 1,
    report: Report = print_at_once,
) -> dict[Condition, list[Measurement]]:
    """Return a measurement of each recording, in their order; missing ones are made.

    Args:
        code: the digest of the code behind `measure`: measurements of other code don't count.
        jobs: number of processes.
        report: called with a line of text after each condition.

    Raises:
        RuntimeError: a process died, most likely because memory ran out.
    """
    asked = list(dict.fromkeys(conditions))
    missing = [c for c in asked if any(found is None for found in _stored(store, c, code))]
    work = [(measure, c, store, code) for c in missing]
    titles = [c.title for c in missing]
    run_timed_jobs(_complete, work, titles, workers=jobs, report=report)
    results = {condition: _stored(store, condition, code) for condition in asked}
    return {c: [found for found in row if found is not None] for c, row in results.items()}


def _complete(job: tuple[Measure, Condition, Store, str]) -> float:
    measure, condition, store, code = job
    started = time.monotonic()
    recordings = synthetic_recordings(
        condition.domain, condition.split, condition.count, variation=condition.variation
    )
    found = _stored(store, condition, code)
    for recording, before in zip(recordings, found, strict=True):
        if before is None:
            identity = {"key": _key(condition, int(recording.subject)), "code": code}
            store.save(condition.domain, {**identity, **measure(recording)})
    return time.monotonic() - started


def _stored(store: Store, condition: Condition, code: str) -> list[Measurement | None]:
    first = SPLITS[condition.split]
    numbers = range(first, first + condition.count)
    return [store.load(condition.domain, _key(condition, number), code) for number in numbers]


def _key(condition: Condition, number: int) -> str:
    parts = [DOMAINS[condition.domain].key, condition.variation.text, number]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
