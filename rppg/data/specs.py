"""SPECs, the names of data on the command line, and the recordings that they open.

A SPEC is `synthetic:DOMAIN`, `NAME:PATH?KEY=VALUE`, a folder, or a video. For example,
`mmpd:/data/MMPD?motion=Walking&skin=5,6&split=test` opens the test subjects' recordings whose
`motion` is Walking and whose `skin_type` is 5 or 6. A key may be shortened at an underscore. %XX
encodes a special character (`%2C` a comma, `%26` an &, in a path `%3F` a ?). A path that exists is
used as it is. Keys of a synthetic domain may also be options, which change the recordings: see
`rppg.synthetic.variations.variation`. `subject`, `recording`, `exclude`, `fold` and `split` choose
people and recordings: see `rppg.data.selection`.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from rppg.data.datasets import DATASETS
from rppg.data.selection import (
    FOLD,
    KEYS,
    SPLIT,
    Query,
    chosen_split,
    select_names,
    select_part,
    shortened,
)
from rppg.errors import InputError
from rppg.synthetic.cache import Progress, synthetic_recordings
from rppg.synthetic.variations.variation import OPTION_KEYS, Variation, parse_variation
from rppg.types import Recording
from rppg.video.crop import FaceRegion, VideoCrops

FACE = "face"
"""Key of a query that is neither metadata nor a selection."""


@dataclass(frozen=True)
class Spec:
    """A parsed SPEC.

    Attributes:
        text: the SPEC as given.
        dataset: a name of `DATASETS`, or `synthetic`.
        location: the path, or the domain if `dataset` is `synthetic`.
        query: the requested values by key.
        query_text: the part after the path, as given.
    """

    text: str
    dataset: str
    location: str
    query: Query = field(default_factory=dict)
    query_text: str = ""


def parse_spec(text: str) -> Spec:
    """Parse a SPEC. A path that exists is used as it is, whatever characters it has.

    The query begins at the last ? before which there is an existing path, else at the first one.

    Raises:
        InputError: an unknown dataset, a path that doesn't exist, a malformed query.
    """
    if not text.strip():  # Path("") is the current folder
        raise InputError(f"SPEC {text!r} is empty; give a dataset or a path (. for this folder)")
    if (found := _existing_path(text)) is not None:
        location, query = found
        return Spec(text, _kind(Path(location)), location, _parse_query(text, query), query)
    body, _, query = text.partition("?")
    name, colon, location = body.partition(":")
    dataset = name.lower()
    if dataset == "synthetic" and location:
        return Spec(text, dataset, location, _parse_query(text, query), query)
    if colon and dataset in DATASETS:
        found = _existing_path(text[len(name) + 1 :])
        if found is None:
            raise InputError(
                f"{text}: no such file or folder {location!r}; give {dataset}:PATH with "
                f"{DATASETS[dataset].layout} in it"
            )
        location, query = found
        return Spec(text, dataset, location, _parse_query(text, query), query)
    similar = difflib.get_close_matches(dataset, DATASETS, 1) if colon and location else []
    hint = f"did you mean {similar[0]}:{location}? " if similar else ""
    raise InputError(
        f"{text}: neither a dataset nor a path; {hint}give synthetic:DOMAIN, NAME:PATH with one "
        f"of {', '.join(DATASETS)} (see `rppg datasets`), a folder of videos, or a video"
    )


def _existing_path(text: str) -> tuple[str, str] | None:
    """Split a path from its query; None if there is no such path.

    A path is first looked for as it is, then with %XX decoded.
    """
    ends = [len(text), *(index for index in range(len(text) - 1, 0, -1) if text[index] == "?")]
    for decode in (False, True):
        for end in ends:
            path = unquote(text[:end]) if decode else text[:end]
            if path and Path(path).exists():
                return path, text[end + 1 :]
    return None


def _kind(path: Path) -> str:
    return "manifest" if path.suffix.lower() == ".csv" and path.is_file() else "folder"


def _parse_query(text: str, query: str) -> dict[str, tuple[str, ...]]:
    requested: dict[str, tuple[str, ...]] = {}
    for part in query.split("&") if query else []:
        key, equals, values = part.partition("=")
        chosen = tuple(unquote(value).strip() for value in values.split(","))
        if not (key and equals) or "" in chosen:
            raise InputError(f"{text}: {part!r} is no filter; give KEY=VALUE or KEY=VALUE,VALUE")
        if key in requested:
            raise InputError(f"{text}: {key} appears twice; give {key}=VALUE,VALUE")
        requested[unquote(key)] = chosen
    return requested


def open_dataset(
    spec: str, *, split: str, subjects: int, progress: Progress | None = None
) -> list[Recording]:
    """List a dataset's recordings in natural order. Nothing is decoded yet.

    Args:
        spec: see the module. A `split` in its query overrides the argument.
        split: `train`, `validation` or `test`, for synthetic domains only. Of other datasets all
            subjects are opened unless the SPEC has a split.
        subjects: number of subjects, for synthetic domains only.
        progress: called with the number of recordings ready and their total.

    Raises:
        InputError: an unknown dataset, key or value, a folder that doesn't contain the dataset, or
            no recording that matches.
    """
    parsed = parse_spec(spec)
    chosen = chosen_split(spec, parsed.query)
    if parsed.dataset == "synthetic":
        return _open_synthetic(parsed, chosen or split, subjects, progress)
    recordings = _recordings(parsed)
    selection, filters = _divide_query(parsed, recordings)
    face, name = _face(parsed), _dataset_name(parsed)
    part = chosen or (f"{FOLD} {','.join(selection[FOLD])}" if FOLD in selection else "all")
    kept = [_with_dataset(r, name, face) for r in select_part(spec, recordings, selection)]
    kept = select_names(spec, _filter(spec, kept, filters), recordings, selection)
    return _with_origin(kept, spec, part)


def _open_synthetic(
    spec: Spec, split: str, subjects: int, progress: Progress | None
) -> list[Recording]:
    if FACE in spec.query:
        raise InputError(f"{spec.text}: synthetic recordings are crops already; leave out {FACE}")
    if FOLD in spec.query:
        raise InputError(
            f"{spec.text}: the splits of a synthetic domain have people of their own, so folds of "
            f"a training and of its test wouldn't fit together; leave {FOLD} out"
        )
    recordings = synthetic_recordings(
        spec.location, split, subjects, variation=_variation(spec), progress=progress
    )
    selection, filters = _divide_query(spec, recordings)
    filters = {key: values for key, values in filters.items() if key not in OPTION_KEYS}
    kept = _filter(spec.text, recordings, filters, OPTION_KEYS)
    return _with_origin(select_names(spec.text, kept, recordings, selection), spec.text, split)


def _divide_query(spec: Spec, recordings: Sequence[Recording]) -> tuple[Query, Query]:
    """Return the part of a query that chooses people and recordings, and the filters."""
    own = {key for recording in recordings for key in recording.metadata}
    keys = {SPLIT, *(key for key in KEYS if key not in own)}
    selection = {key: values for key, values in spec.query.items() if key in keys}
    filters = {k: values for k, values in spec.query.items() if k not in keys and k != FACE}
    return selection, filters


def _variation(spec: Spec) -> Variation:
    try:
        return parse_variation(spec.query)
    except InputError as error:
        raise InputError(f"{spec.text}: {error}") from error


def _with_origin(recordings: Sequence[Recording], spec: str, split: str) -> list[Recording]:
    return [replace(recording, spec=spec, split=split) for recording in recordings]


def open_datasets(
    specs: Sequence[str], *, split: str, subjects: int, progress: Progress | None = None
) -> list[Recording]:
    """List the recordings of several datasets. Datasets of the same name are named by their SPEC.

    `rppg.crops.cache.cached` keeps their crops on disk.
    """
    opened = [
        open_dataset(spec, split=split, subjects=subjects, progress=progress) for spec in specs
    ]
    names = [recordings[0].dataset for recordings in opened]
    return [
        replace(recording, dataset=spec) if names.count(recording.dataset) > 1 else recording
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
    """List one of n shards of several datasets, so that n machines share the work: `1/3` to `3/3`.

    A shard has every n-th recording in the order of `open_datasets`. Synthetic domains, which are
    rendered when opened, belong to the first shard.
    """
    try:
        number, count = (int(part) for part in shard.split("/"))
    except ValueError:
        number = count = 0
    if not 1 <= number <= count:
        raise InputError(f"--shard {shard}: give I/N, such as 1/3, 2/3 and 3/3 on three machines")
    real = [spec for spec in specs if parse_spec(spec).dataset != "synthetic"]
    synthetic = [spec for spec in specs if spec not in real] if number == 1 else []
    recordings = open_datasets(real, split=split, subjects=subjects, progress=progress)
    rendered = open_datasets(synthetic, split=split, subjects=subjects, progress=progress)
    return recordings[number - 1 :: count] + rendered


def _recordings(spec: Spec) -> list[Recording]:
    """List the recordings in the folder, or in the only subfolder that has any (`DATASET_2`)."""
    dataset, root = DATASETS[spec.dataset], Path(spec.location)
    if spec.dataset in ("folder", "manifest"):
        return dataset.recordings(root)
    if not root.is_dir():
        raise InputError(f"{spec.text}: {root} is a file; give the folder with {dataset.layout}")
    recordings = dataset.recordings(root)
    if not recordings:
        subfolders = [dataset.recordings(path) for path in sorted(root.iterdir()) if path.is_dir()]
        with_recordings = [listed for listed in subfolders if listed]
        recordings = with_recordings[0] if len(with_recordings) == 1 else []
    if not recordings:
        raise InputError(
            f"{root}: no recording of {dataset.title} in this folder; looked for {dataset.layout}"
        )
    return recordings


def _dataset_name(spec: Spec) -> str:
    """Return the name for reports: with the query, and with the path only if there is no name.

    Long lists of people and recordings are counted in it.
    """
    name = spec.location if spec.dataset in ("folder", "manifest") else spec.dataset
    return f"{name}?{shortened(spec.query_text)}" if spec.query else name


def _face(spec: Spec) -> FaceRegion | None:
    """Parse `face=detect`, `face=full` or `face=x,y,w,h`; None to keep the layout's default."""
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


def _with_dataset(recording: Recording, name: str, face: FaceRegion | None) -> Recording:
    """Return the recording with the dataset's name, and with `face` unless it is None."""
    crops = recording.load_crops
    if face is not None and isinstance(crops, VideoCrops):
        crops = replace(crops, face=face)
    return replace(recording, dataset=name, load_crops=crops)


def _filter(
    spec: str,
    recordings: list[Recording],
    filters: Query,
    options: Sequence[str] = (),
) -> list[Recording]:
    kept = recordings
    for short_key, values in filters.items():
        key = _full_key(spec, short_key, recordings, options)
        existing = sorted(
            {recording.metadata[key] for recording in recordings if key in recording.metadata}
        )
        wanted = {value.lower() for value in values}
        unknown = [value for value in values if value.lower() not in map(str.lower, existing)]
        if unknown:
            raise InputError(
                f"{spec}: no recording has {key}={','.join(unknown)}; there are "
                f"{', '.join(existing)}"
            )
        kept = [
            recording for recording in kept if recording.metadata.get(key, "").lower() in wanted
        ]
    if not kept:
        raise InputError(
            f"{spec}: none of {len(recordings)} recordings matches all filters; use fewer"
        )
    return kept


def _full_key(
    spec: str, short_key: str, recordings: Sequence[Recording], options: Sequence[str]
) -> str:
    keys = list(dict.fromkeys(key for recording in recordings for key in recording.metadata))
    if short_key in keys:
        return short_key
    matching = [key for key in keys if key.partition("_")[0] == short_key]
    if len(matching) == 1:
        return matching[0]
    selections = [key for key in KEYS if key not in keys and not (options and key == FOLD)]
    known = [*(k for k in keys if k != SPLIT), SPLIT, *(options or [FACE]), *selections]
    existing = ", ".join(known)
    raise InputError(f"{spec}: no key {short_key!r}; there are {existing}")
