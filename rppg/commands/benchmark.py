"""`rppg benchmark`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rppg.commands.options import Device, NoCache
from rppg.commands.terminal import changing_line, print_line, print_status
from rppg.errors import InputError

if TYPE_CHECKING:
    from rppg.study.results import Mean, Tables
    from rppg.study.run import Prepared, Shard
    from rppg.study.store import Store


def benchmark(
    data: Annotated[
        list[str] | None,
        typer.Option(help="SPEC or NAME=SPEC, see `rppg datasets`; repeatable."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="fcus, sinc, contrast-phys, untrained, constant (the mean rate of the training "
            "set), or a classical method, perhaps with +skin; repeatable."
        ),
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            help="A network trained elsewhere, NAME=PATH or PATH, tested on every part; "
            "repeatable. NAME is its row."
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="cross, leave-one-out, intra, convergence or ablation.", show_default="cross"
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Number of seeds.", show_default="3")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Folds of intra.", show_default="5")
    ] = None,
    subjects: Annotated[
        int | None,
        typer.Option(min=2, help="Training subjects per synthetic domain.", show_default="60"),
    ] = None,
    test_subjects: Annotated[
        int | None,
        typer.Option(min=1, help="Test subjects per synthetic domain.", show_default="40"),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(help="Length of a window in seconds; by default the protocol's, 10."),
    ] = None,
    hr: Annotated[
        str | None,
        typer.Option(
            help="Heart rates from the spectrum, or from the wave's peaks.",
            show_default="spectrum",
        ),
    ] = None,
    waves: Annotated[
        bool,
        typer.Option("--waves", help="Write each recording's waves to OUT/waves, CSV files."),
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of the study; options win over it.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the study.")] = Path("runs/benchmark"),
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Print the number of trials and what they cost, by stored trials or a first "
            "measured epoch, and run none.",
        ),
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Torch's threads in each process.")] = 1,
    processes_per_trial: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that train one network together, as under torchrun; fcus only.",
            show_default="1",
        ),
    ] = None,
    shard: Annotated[
        str, typer.Option(help="I/N: every N-th trial, for N machines that share --out.")
    ] = "1/1",
    device: Device = "cpu",
    no_cache: NoCache = False,
) -> None:
    """Train methods on datasets, test them on others, and write the table. The same command
    continues where it was stopped."""
    from rppg.estimators.find import label_checkpoints
    from rppg.study.config import read_study
    from rppg.study.run import Shard, fill_cache, prepare, run_missing
    from rppg.study.run_trial import Means
    from rppg.study.store import Store

    evaluation = {"window_s": window, "hr": hr}
    options = {
        "data": data or None,
        "methods": tuple(method) if method else None,
        "checkpoints": label_checkpoints(checkpoint) if checkpoint else None,
        "evaluation": {name: value for name, value in evaluation.items() if value is not None},
        "protocol": protocol,
        "seeds": seeds,
        "folds": folds,
        "subjects": subjects,
        "test_subjects": test_subjects,
        "waves": waves or None,
        "processes_per_trial": processes_per_trial,
    }
    study = read_study(config, options)
    chosen = Shard.parse(shard)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; name a folder for --out")
    store = Store(out)
    prepared = prepare(study, print_status)
    if plan:
        _print_plan(prepared, store, chosen, jobs)
        return
    if not prepared.jobs:
        reason = next(iter(prepared.skipped.values()))
        raise InputError(f"none of {len(prepared.skipped)} trials can be run: {reason}")
    from rppg.study.documents import write_documents

    write_documents(prepared, store, report=False)
    if not no_cache:
        fill_cache(prepared, store, chosen, workers=jobs)
    means = Means(device=device, threads=threads, cache=not no_cache)
    with changing_line() as show:
        run_missing(
            prepared,
            store,
            shard=chosen,
            jobs=jobs,
            means=means,
            report=print_status,
            progress=show,
        )
    _print_tables(write_documents(prepared, store), store)


def _print_plan(prepared: "Prepared", store: "Store", shard: "Shard", jobs: int) -> None:
    from rppg.study.cost import Cost, Costs, crops_to_store_mb, measure

    own = prepared.of_shard(shard)
    missing = [job for job in own if not store.complete(job)]
    costs = Costs.of(store, prepared.jobs.values())
    for job in missing:
        if job.trial.label not in costs.known:
            print_status(f"measuring {job.trial.label}")
            try:
                costs.known[job.trial.label] = measure(job, prepared.study)
            except InputError as error:
                print_status(f"{job.trial.label}: no cost: {error}")
    costs.save(store)
    print_line(
        f"{len(own)} trials: {len(own) - len(missing)} finished, {len(missing)} to run; "
        f"{len(prepared.skipped)} can't be run"
    )
    for label in dict.fromkeys(job.trial.label for job in missing):
        of_method = [costs.seconds(job) for job in missing if job.trial.label == label]
        cost = costs.known.get(label, Cost())
        source = f"{cost.trials} stored trials" if cost.trials else "a measured epoch"
        known = [seconds for seconds in of_method if seconds is not None]
        words = f"{sum(known) / 3600:.2f} h by {source}" if known else "of unknown cost"
        print_line(f"  {label}: {len(of_method)} trials, {words}")
    total = sum(costs.seconds(job) or 0.0 for job in missing)
    print_line(f"Time: {total / jobs / 3600:.2f} h with {jobs} processes")
    disk = crops_to_store_mb(prepared.parts, prepared.study)
    print_line(f"Disk: {disk / 1000:.2f} GB of crops to be cached")
    peak = max((costs.known[label].peak_mb for label in costs.known), default=0.0)
    if peak:
        print_line(f"Memory: {peak / 1000:.1f} GB or more for each process")
    for trial, reason in prepared.skipped.items():
        print_line(f"can't be run: {trial.title}: {reason}")


def _print_tables(found: "Tables", store: "Store") -> None:
    for mean in found.means:
        print_line(_in_words(mean))
    recordings = [out for out in found.left_out if out.kind not in ("part", "trial", "test")]
    for out in found.left_out:
        if out not in recordings:
            print_status(f"left out: {out.kind} {out.what}: {out.reason}")
    if recordings:
        print_status(f"{len({out.what for out in recordings})} recordings left out, see study.json")
    if found.missing:
        print_status(f"{len(found.missing)} of {found.trials} trials haven't been run yet")
    print_line(f"Report: {store.folder / 'study.html'}")
    print_line(f"Tables: {store.folder / 'study'}.json, .csv and .tex")


def _in_words(mean: "Mean") -> str:
    from rppg.study.report.wording import many, trials_behind

    counts = [many(mean.n_windows, "window"), many(mean.n_subjects, "subject"), trials_behind(mean)]
    interval = "" if mean.low != mean.low else f" ({mean.low:.2f} to {mean.high:.2f})"
    return (
        f"{mean.label} on {mean.test or 'all'}: MAE {mean.mae_bpm:.2f} bpm{interval}; "
        f"n = {', '.join(filter(None, counts))}"
    )
