"""`rppg cache`."""

from typing import Annotated

import typer

from rppg.commands.options import Json, Specs, Subjects, Workers
from rppg.commands.terminal import print_json, print_line, print_status, progress_bars


def cache(
    data: Specs,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Every N-th recording only, from the I-th on.")
    ] = "1/1",
    workers: Workers = None,
    subjects: Subjects = 40,
    as_json: Json = False,
) -> None:
    """Read videos into the cache that `train` and `evaluate` use; exit code 2 if any fails."""
    from rppg.crops.cache import stale_crops, store
    from rppg.crops.crop_key import crops_folder
    from rppg.data.specs import open_shard
    from rppg.synthetic.cache import stale_recordings

    with progress_bars(quiet=as_json) as bars:
        recordings = open_shard(
            data, shard, split="train", subjects=subjects, progress=bars.loading
        )
        stored = store(recordings, workers=workers, progress=bars.loading, verify=True)
    failures = [
        {"dataset": recordings[index].dataset, "record": recordings[index].name, "reason": reason}
        for index, reason in stored.failed.items()
    ]
    if as_json:
        counts = {"folder": str(crops_folder()), "ready": stored.ready, "built": stored.built}
        print_json({**counts, "failed": failures})
    else:
        for failure in failures:
            print_status(f"{failure['record']}: {failure['reason']}", style="yellow")
        for line in [*stale_crops(), *stale_recordings()]:
            print_status(line)
        print_line(
            f"{stored.ready} ready, {stored.built} built, {len(failures)} failed: {crops_folder()}"
        )
    if failures:
        raise typer.Exit(2)
