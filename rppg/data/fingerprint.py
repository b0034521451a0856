"""Fingerprints of recordings, by which a recording that was trained on is known again.

A fingerprint covers the beginning, the end and the size of a video's files, but no name or path: a
dataset may be moved, or opened as another SPEC. That of a synthetic recording covers its domain,
its number and its options.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rppg.data.specs import parse_spec
from rppg.errors import InputError
from rppg.synthetic.cache import find_domain
from rppg.synthetic.variations.draw import describe_recording
from rppg.synthetic.variations.variation import parse_variation
from rppg.types import Recording, Video

LENGTH = 16
"""Hexadecimal digits."""
PART_BYTES = 2**16
"""Bytes at each end of a file."""


def fingerprint(recording: Recording) -> str | None:
    """Return a recording's fingerprint; None if it has no files, or they can't be read."""
    if recording.video is not None:
        return _of_video(recording.video)
    source = recording.spec or recording.dataset
    if source.startswith("synthetic:"):
        return _of_synthetic(source, recording.subject)
    return None


def fingerprints(recordings: Sequence[Recording]) -> list[str]:
    """Return the fingerprints of those recordings that have one, for a checkpoint."""
    return [found for recording in recordings if (found := fingerprint(recording)) is not None]


class TrainingData:
    """The recordings that a network was trained on, by the provenance in its checkpoint.

    Checkpoints of earlier versions have no fingerprints. Then a recording counts if the checkpoint
    lists its subject, in a dataset at the same path.
    """

    def __init__(self, provenance: Mapping[str, Any]) -> None:
        self._fingerprints: set[str] = set()
        self._subjects: set[tuple[str, str]] = set()
        for made in _chain(provenance):
            known = made.get("fingerprints")
            if isinstance(known, list):
                self._fingerprints.update(map(str, known))
                continue
            for part in made.get("data", ()):
                self._add_part(part)

    def __bool__(self) -> bool:
        """Return whether any recording is known."""
        return bool(self._fingerprints or self._subjects)

    def __contains__(self, recording: Recording) -> bool:
        """Return whether a recording was trained on."""
        if self._fingerprints and fingerprint(recording) in self._fingerprints:
            return True
        if not self._subjects:
            return False
        location = _location(recording.spec)
        return location is not None and (location, recording.subject) in self._subjects

    def _add_part(self, part: Mapping[str, Any]) -> None:
        """Add a dataset as `DatasetProvenance` has it."""
        spec, subjects = str(part["spec"] or part["dataset"]), part["subjects"]
        if spec.startswith("synthetic:"):
            numbers = [number for joined in subjects for number in _unjoined(joined)]
            found = [_of_synthetic(spec, number) for number in numbers]
            self._fingerprints.update(name for name in found if name is not None)
        elif (location := _location(spec)) is not None:
            self._subjects.update((location, subject) for subject in subjects)


def _chain(provenance: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a provenance, and that of each network that an adaptation has started from."""
    made: Any = provenance
    while isinstance(made, Mapping):
        yield made
        for key in ("adaptation", "start", "provenance"):
            made = made.get(key) if isinstance(made, Mapping) else None


def _of_video(video: Video) -> str | None:
    digest = hashlib.sha256()
    try:
        files = video.files
        alike = [path for path in files if path.suffix == files[0].suffix]  # no file of times
        if not alike:
            return None
        for path in dict.fromkeys((alike[0], alike[-1])):
            size = path.stat().st_size
            with path.open("rb") as file:
                digest.update(f"{size}/".encode() + file.read(PART_BYTES))
                file.seek(max(0, size - PART_BYTES))
                digest.update(file.read(PART_BYTES))
    except (OSError, InputError):  # a missing file, or a folder without images
        return None
    return digest.hexdigest()[:LENGTH]


def _of_synthetic(source: str, number: str) -> str | None:
    """Return the fingerprint of a subject of a SPEC such as `synthetic:lab?beside=shoulder`."""
    try:
        spec = parse_spec(source)
        domain = find_domain(spec.location)
        options = describe_recording(domain, int(number), parse_variation(spec.query))
    except (InputError, ValueError):  # of another version
        return None
    content = f"synthetic:{domain.key}/{int(number)}?{options}"
    return hashlib.sha256(content.encode()).hexdigest()[:LENGTH]


def _unjoined(joined: str) -> list[str]:
    """Return the numbers of a range: `3-5` → `3 4 5`."""
    first, _, last = joined.partition("-")
    return [str(number) for number in range(int(first), int(last or first) + 1)]


def _location(source: str) -> str | None:
    """Return the path of a SPEC; None if there is none."""
    try:
        return str(Path(parse_spec(source).location).resolve())
    except InputError:
        return None
