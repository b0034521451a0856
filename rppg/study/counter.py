"""What is left of a study while it runs: which trials have ended, which run, and the time."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from rppg.study.claims import owner
from rppg.study.cost import Costs
from rppg.study.key import Job
from rppg.study.progress import FILE as PROGRESS
from rppg.study.progress import Progress, read_progress
from rppg.study.run_trial import died
from rppg.study.store import Store

Report = Callable[[str], None]
Outcome = Literal["done", "busy"]

SHOW_EVERY_S = 5.0


class Counter:
    """The trials that are still to be finished; reports each that is, with the time left."""

    def __init__(
        self, waiting: Sequence[Job], costs: Costs, jobs: int, store: Store, report: Report
    ) -> None:
        self.waiting, self.costs, self.jobs = waiting, costs, jobs
        self.store, self.report = store, report
        self.open = set(range(len(waiting)))

    def done(self, index: int, outcome: Outcome | None) -> None:
        """Count a trial that has ended; `outcome` is None if its process died."""
        job = self.waiting[index]
        self.open.discard(index)
        if outcome == "busy":
            return
        result = died(job, self.store) if outcome is None else self.store.load(job)
        if result is None:
            return
        self.costs.add(job, result)
        number = len(self.waiting) - len(self.open)
        words = f"{result['timing'].get('spent_s', 0):.0f} s"
        if "failed" in result:
            words = f"failed: {result['failed']['reason']}"
        self.report(f"[{number}/{len(self.waiting)}] {job.trial.title}: {words}{self._left()}")

    @contextmanager
    def shown(self, display: Report | None) -> Iterator[None]:
        """Call `display` every few seconds with a line on the trials that run, from a thread."""
        if display is None:
            yield
            return
        ended = threading.Event()

        def repeat() -> None:
            while not ended.wait(SHOW_EVERY_S):
                if line := self.line():
                    display(line)

        thread = threading.Thread(target=repeat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def line(self) -> str:
        """Return a line on the trials that run now, with the time left; empty if none does."""
        jobs = [self.waiting[index] for index in sorted(self.open)]
        lines = [
            f"{job.trial.title}: {progress.words}"
            for job in jobs
            if (progress := self._progress(job)) and owner(self.store.claims, job.key)
        ]
        return " | ".join(lines) + self._left() if lines else ""

    def _progress(self, job: Job) -> Progress | None:
        return read_progress(self.store.run_folder(job) / PROGRESS)

    def _left(self) -> str:
        """Return the time left for all open trials, in words."""
        jobs = [self.waiting[index] for index in sorted(self.open)]
        left_s = [self.costs.seconds(job, self._progress(job)) for job in jobs]
        known = [s for s in left_s if s is not None]
        if not jobs:
            return ""
        unknown = len(left_s) - len(known)
        left = f"; {_duration(sum(known) / self.jobs)} left"
        return left + (f" and {unknown} trials of unknown cost" if unknown else "")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
