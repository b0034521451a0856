"""The missing trials of a study, run in one process or several, on one machine or many."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rppg.crops.cache import store as store_crops
from rppg.errors import InputError
from rppg.processes import work_through
from rppg.study.claims import claim, forget_dead, owner
from rppg.study.config import StudyConfig
from rppg.study.cost import Costs
from rppg.study.counter import Counter, Outcome, Report
from rppg.study.key import CODE_DIGEST, Job, job_of
from rppg.study.parts import Part, open_part
from rppg.study.plan import Trial, plan_trials
from rppg.study.run_trial import Means, run_trial
from rppg.study.store import Store
from rppg.study.survey import PartSurvey, survey
from rppg.types import Recording

WAIT_S = 2.0


@dataclass(frozen=True)
class Shard:
    """One of `count` shards, from 1: every so many-th trial of the plan."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Parse `1/3`.

        Raises:
            InputError: it isn't I/N with 1 ≤ I ≤ N.
        """
        try:
            number, count = (int(part) for part in text.split("/"))
        except ValueError:
            number = count = 0
        if not 1 <= number <= count:
            raise InputError(f"--shard {text}: give I/N, such as 1/3, 2/3 and 3/3")
        return cls(number, count)

    def of(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return this shard's trials."""
        return list(trials[self.number - 1 :: self.count])


@dataclass(frozen=True)
class Prepared:
    """A study whose data has been opened.

    Attributes:
        study: its configuration.
        parts: what is in each part.
        jobs: the trials that can be run, by the trial as planned.
        skipped: why the others can't.
    """

    study: StudyConfig
    parts: dict[Part, PartSurvey]
    jobs: dict[Trial, Job]
    skipped: dict[Trial, str] = field(default_factory=dict)

    def of_shard(self, shard: Shard) -> list[Job]:
        """Return the shard's trials that can be run."""
        return [self.jobs[t] for t in shard.of(plan_trials(self.study)) if t in self.jobs]


def prepare(study: StudyConfig, report: Report) -> Prepared:
    """Open all parts, and find which trials can be run, on what, and their keys.

    Args:
        report: called with a line of text for each part or checkpoint that can't be used.
    """
    trials = plan_trials(study)
    used = [part for trial in trials for part in (*trial.training, *trial.tests)]
    parts = survey(used, study, report)
    prepared = Prepared(study, parts, {})
    for trial in trials:
        bad = [part for part in trial.training if parts[part].reason]
        tests = tuple(part for part in trial.tests if not parts[part].reason)
        if bad:
            prepared.skipped[trial] = f"{bad[0].title}: {parts[bad[0]].reason}"
        elif not tests:
            prepared.skipped[trial] = "none of the parts it is tested on can be used"
        else:
            try:
                prepared.jobs[trial] = job_of(replace(trial, tests=tests), study, parts)
            except InputError as error:  # a checkpoint
                if str(error) not in prepared.skipped.values():
                    report(f"{trial.method}: can't be used: {error}")
                prepared.skipped[trial] = str(error)
    return prepared


def fill_cache(prepared: Prepared, store: Store, shard: Shard, *, workers: int) -> None:
    """Read a shard's share of the videos into the cache that trials still need, in several
    processes.

    Trials read what is still missing then. A video that can't be read is named by those.
    """
    recordings: dict[str, Recording] = {}
    waiting = [job.trial for job in prepared.jobs.values() if not store.complete(job)]
    for part in dict.fromkeys(p for trial in waiting for p in (*trial.training, *trial.tests)):
        opened = open_part(part, prepared.study)
        recordings |= dict(zip(prepared.parts[part].digests, opened, strict=False))
    share = [recordings[digest] for digest in sorted(recordings)][shard.number - 1 :: shard.count]
    store_crops(share, workers=workers)


@dataclass(frozen=True)
class Work:
    """What a process needs to run one trial."""

    job: Job
    study: StudyConfig
    store: Store
    means: Means


def run_missing(
    prepared: Prepared,
    store: Store,
    *,
    shard: Shard | None = None,
    jobs: int = 1,
    means: Means | None = None,
    report: Report,
    progress: Report | None = None,
) -> None:
    """Run the trials of a shard that aren't stored yet; return when all of them are.

    Trials on which other processes work are waited for, and taken over if these die.

    Args:
        jobs: number of processes.
        means: device, threads and cache.
        report: called with a line of text after each trial.
        progress: called every few seconds, from a thread, with a line on the trials that run now.

    Raises:
        InputError: a result can't be stored, or the code changed while processes were starting.
    """
    means = means or Means()
    own = prepared.of_shard(shard or Shard())
    store.forget_circumstances(job for job in own if not owner(store.claims, job.key))
    waiting = [job for job in own if not store.complete(job)]
    if len(waiting) < len(own):
        report(f"{len(own) - len(waiting)} of {len(own)} trials are finished already")
    announced: set[str] = set()
    while waiting:
        costs = Costs.of(store, prepared.jobs.values())
        counter = Counter(waiting, costs, jobs, store, report)
        work = [Work(job, prepared.study, store, means) for job in waiting]
        with counter.shown(progress):
            work_through(work_on, work, jobs, counter.done)
        waiting = [job for job in waiting if not store.complete(job)]
        for job in waiting:
            if (who := owner(store.claims, job.key)) and job.key not in announced:
                announced.add(job.key)
                report(f"{job.trial.title}: waiting for {who}")
        if waiting:
            time.sleep(WAIT_S)
    for job in own:  # a process may be killed between a trial's end and that of its claim
        forget_dead(store.claims, job.key)


def work_on(work: Work) -> Outcome:
    """Run a trial, unless another process does or has."""
    job, store = work.job, work.store
    if job.code != CODE_DIGEST:
        raise InputError("the code changed while processes were starting; start again")
    with claim(store.claims, job.key) as mine:
        if not mine:
            return "busy"
        if not store.complete(job):
            run_trial(job, work.study, store, work.means)
        return "done"
