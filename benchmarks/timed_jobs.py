"""The jobs of a benchmark, in one process or several, with a line of text after each."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from rppg.processes import work_through

Job = TypeVar("Job")
Report = Callable[[str], None]


def print_at_once(line: str) -> None:
    """Print a line, also where the output is a file or a pipe."""
    print(line, flush=True)


def run_timed_jobs(
    work: Callable[[Job], float],
    jobs: Sequence[Job],
    titles: Sequence[str],
    *,
    workers: int,
    report: Report,
) -> None:
    """Run `work` on every job.

    Args:
        work: a function at the top level of a module, since processes import it. It stores its
            result, and returns the seconds that it took.
        jobs: arguments of `work`.
        titles: of the jobs.
        workers: number of processes.
        report: called with a line of text after each job.

    Raises:
        RuntimeError: a process died, most likely because memory ran out.
    """
    finished = 0

    def done(index: int, seconds: float | None) -> None:
        nonlocal finished
        finished += 1
        if seconds is None:
            raise RuntimeError(f"{titles[index]}: its process died; use fewer jobs")
        report(f"[{finished}/{len(jobs)}] {titles[index]}: {seconds:.0f} s")

    work_through(work, jobs, workers, done)
