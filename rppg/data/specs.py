"""From a SPEC to records: `synthetic:DOMAIN`, a folder of videos, or a video."""

from pathlib import Path

from rppg.errors import InputError
from rppg.records import FaceCrops, Record
from rppg.synthetic.cache import Progress, synthetic_records
from rppg.video.crop import read_crops

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"}
)


def open_dataset(
    spec: str, *, split: str, subjects: int, progress: Progress | None = None
) -> list[Record]:
    """Records of a dataset, sorted by name.

    Args:
        spec: `synthetic:DOMAIN`, a folder of videos (searched recursively), or one video.
        split: of a synthetic domain: `train`, `validation` or `test`.
        subjects: of a synthetic domain: how many.
        progress: called with the number of recordings ready and their total.
    """
    kind, _, rest = spec.partition(":")
    if kind == "synthetic" and rest:
        return synthetic_records(rest, split, subjects, progress=progress)
    path = Path(spec)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
        if not files:
            known = " ".join(sorted(VIDEO_SUFFIXES))
            raise InputError(f"{path}: no video in this folder; looked for files ending in {known}")
        return [_video_record(file, file.relative_to(path), path) for file in files]
    if path.exists():
        return [_video_record(path, Path(path.name), path.parent)]
    raise InputError(
        f"{spec}: neither a dataset nor a path; give synthetic:DOMAIN (see `rppg datasets`), "
        "a folder of videos, or a video"
    )


def _video_record(file: Path, name: Path, folder: Path) -> Record:
    def load() -> FaceCrops:
        return read_crops(file)

    return Record(name=str(name), dataset=str(folder), subject=str(name), load_crops=load)
