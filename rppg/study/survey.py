"""What is in the parts of a study's datasets: counts and digests, or why a part can't be opened."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rppg.crops.crop_key import content_digest, files_stamp, store_digest, stored_digest
from rppg.data.fingerprint import fingerprints
from rppg.errors import InputError, WriteError
from rppg.study.config import StudyConfig
from rppg.study.parts import Part, open_part
from rppg.types import Recording


@dataclass(frozen=True)
class PartSurvey:
    """What is in a part.

    Attributes:
        digests: of each recording, in their order; see `recording_digest`.
        fingerprints: by which a recording that was trained on is known again, under another name
            and in another dataset too; of those that have one.
        subjects: number of people.
        reason: why the part can't be opened; empty if it can.
    """

    digests: tuple[str, ...] = ()
    subjects: int = 0
    reason: str = ""
    fingerprints: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """A digest of the whole part."""
        return hashlib.sha256(json.dumps(self.digests).encode()).hexdigest()

    @property
    def recordings(self) -> int:
        """Number of recordings."""
        return len(self.digests)


def survey(
    parts: Iterable[Part], study: StudyConfig, report: Callable[[str], None] | None = None
) -> dict[Part, PartSurvey]:
    """Open every part once, and digest its recordings' files.

    Files are read for that once; afterwards their digests are known by path, size and time.

    Args:
        report: called with a line of text for each part that can't be opened.
    """
    found: dict[Part, PartSurvey] = {}
    for part in dict.fromkeys(parts):
        found[part] = _survey_part(part, study)
        if report is not None and found[part].reason:
            report(f"{part.title}: can't be used: {found[part].reason}")
    return found


def recording_digest(recording: Recording) -> str:
    """Return a digest of a recording: its name and person, and the content of its files.

    Of a synthetic recording, its domain with the version, its options and its number. The location
    of the files doesn't matter. A file that is missing or unreadable counts as such: the
    evaluation names it.
    """
    video = recording.video.files if recording.video else ()
    others = [file for file in recording.files if file not in video]
    if recording.rate_file is not None and recording.rate_file not in (*video, *others):
        others.append(recording.rate_file)
    # a video's digest is that of the cache of crops: it is read once for both
    contents = [_content(files) for files in (video, others) if files]
    dataset = "" if contents else recording.dataset  # a file's dataset may be named by its path
    reading = recording.video.reading if recording.video else ""
    about = [dataset, recording.name, recording.subject, reading, contents]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def _content(files: Sequence[Path]) -> str:
    """Return the digest of the files' content, which is read if its digest isn't known."""
    try:
        stamp = files_stamp(files)
        content = stored_digest(stamp)
        if content is not None:
            return content
        content = content_digest(files)
    except InputError:
        return "unreadable"
    with contextlib.suppress(WriteError):  # without a cache, they are read again
        store_digest(files, stamp, content)
    return content


def _survey_part(part: Part, study: StudyConfig) -> PartSurvey:
    try:
        recordings = open_part(part, study)
    except (InputError, OSError) as error:
        return PartSurvey(reason=str(error))
    except Exception as error:  # noqa: BLE001  a loader's bug costs one dataset, not the study
        return PartSurvey(reason=f"its loader failed ({type(error).__name__}: {error})")
    digests = tuple(recording_digest(recording) for recording in recordings)
    subjects = len({recording.subject for recording in recordings})
    return PartSurvey(digests, subjects, fingerprints=tuple(fingerprints(recordings)))
