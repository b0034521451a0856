"""From a SPEC to records: `synthetic:DOMAIN`, `NAME:PATH?KEY=VALUE`, a folder, a video.

`mmpd:/data/MMPD?motion=Walking&skin=5,6&split=test`: the test subjects' recordings whose `motion`
is Walking and whose `skin_type` is 5 or 6. A key may be cut at an underscore; %XX stands for a
character that has a meaning of its own (`%2C` for a comma, `%26` for &).
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from rppg.data.catalogue import DATASETS
from rppg.data.split import FRACTIONS, split_subjects
from rppg.errors import InputError
from rppg.synthetic.cache import Progress, synthetic_recordings
from rppg.types import Recording
from rppg.video.crop import FaceRegion, VideoCrops

SPLIT, FACE = "split", "face"
"""Keys of a query that are no metadata."""


@dataclass(frozen=True)
class Spec:
    """A SPEC in its parts: dataset, path or domain, and the values asked for by key."""

    text: str
    dataset: str
    place: str
    query: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def parse_spec(text: str) -> Spec:
    """A SPEC in its parts. A path that exists is taken as it is, whatever it holds.

    Raises:
        InputError: an unknown dataset, a path that doesn't exist, a malformed query.
    """
    if not text.strip():  # which would be the folder where one happens to be
        raise InputError(f"SPEC {text!r} is empty; give a dataset or a path (. for this folder)")
    if Path(text).exists():
        return Spec(text, _kind(Path(text)), text)
    body, _, query = text.partition("?")
    name, colon, place = body.partition(":")
    asked = _parse_query(text, query)
    dataset = name.lower()
    if dataset == "synthetic" and place:
        return Spec(text, dataset, place, asked)
    if colon and dataset in DATASETS:
        if not place or not Path(place).exists():
            raise InputError(
                f"{text}: no such file or folder {place!r}; give {dataset}:PATH with "
                f"{DATASETS[dataset].layout} in it"
            )
        return Spec(text, dataset, place, asked)
    if Path(body).exists():
        return Spec(text, _kind(Path(body)), body, asked)
    near = difflib.get_close_matches(dataset, DATASETS, 1) if colon and place else []
    hint = f"did you mean {near[0]}:{place}? " if near else ""
    raise InputError(
        f"{text}: neither a dataset nor a path; {hint}give synthetic:DOMAIN, NAME:PATH with one "
        f"of {', '.join(DATASETS)} (see `rppg datasets`), a folder of videos, or a video"
    )


def _kind(path: Path) -> str:
    return "manifest" if path.suffix.lower() == ".csv" and path.is_file() else "folder"


def _parse_query(text: str, query: str) -> dict[str, tuple[str, ...]]:
    asked: dict[str, tuple[str, ...]] = {}
    for part in query.split("&") if query else []:
        key, equals, values = part.partition("=")
        chosen = tuple(unquote(value).strip() for value in values.split(","))
        if not (key and equals) or "" in chosen:
            raise InputError(f"{text}: {part!r} is no filter; give KEY=VALUE or KEY=VALUE,VALUE")
        if key in asked:
            raise InputError(f"{text}: {key} stands there twice; give {key}=VALUE,VALUE")
        asked[unquote(key)] = chosen
    return asked


def open_dataset(
    spec: str, *, split: str, subjects: int, progress: Progress | None = None
) -> list[Recording]:
    """Records of a dataset, sorted naturally; nothing is decoded yet.

    Args:
        spec: see the module. A `split` in its query wins over the argument.
        split: of a synthetic domain: `train`, `validation` or `test`. Of other datasets all
            subjects are given unless the SPEC asks for a split.
        subjects: of a synthetic domain: how many.
        progress: called with the number of recordings ready and their total.

    Raises:
        InputError: an unknown dataset, key or value, a folder without the dataset in it, or no
            record that matches.
    """
    parsed = parse_spec(spec)
    asked = {key: value for key, value in parsed.query.items() if key not in (SPLIT, FACE)}
    chosen = _chosen_split(parsed)
    if parsed.dataset == "synthetic":
        if FACE in parsed.query:
            raise InputError(f"{spec}: synthetic recordings are crops already; leave out {FACE}")
        recordings = synthetic_recordings(
            parsed.place, chosen or split, subjects, progress=progress
        )  # fmt: skip
        return _filtered(spec, _found_by(spec, chosen or split, recordings), asked)
    found = _recordings(parsed)
    if chosen:
        found = _of_split(spec, found, chosen)
    face = _face(parsed)
    label = _label(parsed)
    recordings = [_of_dataset(recording, label, face) for recording in found]
    return _filtered(spec, _found_by(spec, chosen or "all", recordings), asked)


def _found_by(spec: str, split: str, recordings: Sequence[Recording]) -> list[Recording]:
    return [replace(recording, spec=spec, split=split) for recording in recordings]


def open_datasets(
    specs: Sequence[str], *, split: str, subjects: int, progress: Progress | None = None
) -> list[Recording]:
    """Records of several datasets; two that would bear the same name are told apart by SPEC.

    `rppg.crops.cache.cached` keeps their crops on disk.
    """
    opened = [
        open_dataset(spec, split=split, subjects=subjects, progress=progress) for spec in specs
    ]
    labels = [recordings[0].dataset for recordings in opened]
    return [
        replace(recording, dataset=spec) if labels.count(recording.dataset) > 1 else recording
        for spec, recordings in zip(specs, opened, strict=True)
        for recording in recordings
    ]


def open_shard(
    specs: Sequence[str],
    shard: str,
    *,
    split: str,
    subjects: int,
    progress: Progress | None = None,
) -> list[Recording]:
    """One of n parts of several datasets, so that n machines share the work: `1/3` to `3/3`.

    Every n-th record, in the order of `open_datasets`. Synthetic domains, which are rendered when
    opened, belong to the first part.
    """
    try:
        place, count = (int(number) for number in shard.split("/"))
    except ValueError:
        place = count = 0
    if not 1 <= place <= count:
        raise InputError(f"--shard {shard}: give I/N, such as 1/3, 2/3 and 3/3 on three machines")
    filmed = [spec for spec in specs if parse_spec(spec).dataset != "synthetic"]
    rendered = [spec for spec in specs if spec not in filmed] if place == 1 else []
    recordings = open_datasets(filmed, split=split, subjects=subjects, progress=progress)
    made = open_datasets(rendered, split=split, subjects=subjects, progress=progress)
    return recordings[place - 1 :: count] + made


def _recordings(spec: Spec) -> list[Recording]:
    """Of the folder named, or of the one folder in it that has any (`UBFC/DATASET_2`)."""
    dataset, root = DATASETS[spec.dataset], Path(spec.place)
    if spec.dataset in ("folder", "manifest"):
        return dataset.recordings(root)
    if not root.is_dir():
        raise InputError(f"{spec.text}: {root} is a file; give the folder with {dataset.layout}")
    found = dataset.recordings(root)
    if not found:
        below = [dataset.recordings(path) for path in sorted(root.iterdir()) if path.is_dir()]
        several = [recordings for recordings in below if recordings]
        found = several[0] if len(several) == 1 else []
    if not found:
        raise InputError(
            f"{root}: no recording of {dataset.title} in this folder; looked for {dataset.layout}"
        )
    return found


def _label(spec: Spec) -> str:
    """How reports name the dataset: with its query, without its path where it has a name."""
    name = spec.place if spec.dataset in ("folder", "manifest") else spec.dataset
    query = spec.text.partition("?")[2] if spec.query else ""
    return f"{name}?{query}" if query else name


def _chosen_split(spec: Spec) -> str | None:
    values = spec.query.get(SPLIT)
    if values is None:
        return None
    if len(values) != 1 or values[0] not in FRACTIONS:
        raise InputError(
            f"{spec.text}: no split {','.join(values)!r}; choose one of {', '.join(FRACTIONS)}"
        )
    return values[0]


def _of_split(spec: str, found: Sequence[Recording], chosen: str) -> list[Recording]:
    """The dataset's own split where it has one; all subjects are split before any filter."""
    if all(SPLIT in recording.metadata for recording in found):
        kept = [r for r in found if r.metadata[SPLIT] == chosen]
    else:
        of = split_subjects(recording.subject for recording in found)
        kept = [r for r in found if of[r.subject] == chosen]
    if not kept:
        count = len({recording.subject for recording in found})
        raise InputError(f"{spec}: no subject of {count} is in split {chosen}; leave {SPLIT} out")
    return kept


def _face(spec: Spec) -> FaceRegion | None:
    """`face=detect`, `face=full`, `face=x,y,w,h`; None: as the layout says."""
    values = spec.query.get(FACE)
    if values is None:
        return None
    if values == ("detect",):
        return FaceRegion()
    if values == ("full",):
        return FaceRegion(full_frame=True)
    try:
        x, y, width, height = (float(value) for value in values)
    except ValueError as error:
        raise InputError(
            f"{spec.text}: {FACE}={','.join(values)}; give detect, full, or x,y,w,h in pixels"
        ) from error
    return FaceRegion(box=(x, y, width, height))


def _of_dataset(recording: Recording, label: str, face: FaceRegion | None) -> Recording:
    """Name the dataset; `face` takes the place of what the layout says."""
    crops = recording.load_crops
    if face is not None and isinstance(crops, VideoCrops):
        crops = replace(crops, face=face)
    return replace(recording, dataset=label, load_crops=crops)


def _filtered(
    spec: str, recordings: list[Recording], asked: Mapping[str, tuple[str, ...]]
) -> list[Recording]:
    kept = recordings
    for short, values in asked.items():
        key = _full_key(spec, short, recordings)
        there = sorted(
            {recording.metadata[key] for recording in recordings if key in recording.metadata}
        )
        wanted = {value.lower() for value in values}
        unknown = [value for value in values if value.lower() not in map(str.lower, there)]
        if unknown:
            raise InputError(
                f"{spec}: no recording has {key}={','.join(unknown)}; there are {', '.join(there)}"
            )
        kept = [
            recording for recording in kept if recording.metadata.get(key, "").lower() in wanted
        ]
    if not kept:
        raise InputError(f"{spec}: none of {len(recordings)} recordings matches all; ask for less")
    return kept


def _full_key(spec: str, short: str, recordings: Sequence[Recording]) -> str:
    keys = list(dict.fromkeys(key for recording in recordings for key in recording.metadata))
    if short in keys:
        return short
    matching = [key for key in keys if key.partition("_")[0] == short]
    if len(matching) == 1:
        return matching[0]
    there = ", ".join([*(key for key in keys if key != SPLIT), SPLIT, FACE])
    raise InputError(f"{spec}: no key {short!r}; there are {there}")
