"""The people and recordings of a dataset that a SPEC chooses.

    subject=1,2  subject=s10  subject=1-38  subject=first:30  subject=last:12
    recording=s1_T1,s1_T2
    exclude=s3_T1,s8_T1
    fold=1/5  fold=1/5,2/5  fold=not:1/5
    split=train

A number names the subject whose name has this number: 1 for `subject1`, `s1` or `01`. `first` and
`last` count in natural order. The complement of a fold is `not:`, not `!`, which shells replace.
Folds and splits are formed of all subjects before anything else is chosen, so that nothing moves
a subject from one to another.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence

from rppg.data.find_files import natural_key
from rppg.data.split import FRACTIONS, fold_subjects, split_subjects
from rppg.errors import InputError
from rppg.types import Recording

SPLIT, FOLD = "split", "fold"
SUBJECT, RECORDING, EXCLUDE = "subject", "recording", "exclude"
KEYS = (SUBJECT, RECORDING, EXCLUDE, FOLD)
"""Keys of a query beside `split`. A dataset's own metadata of the same name comes first."""

Query = Mapping[str, tuple[str, ...]]
"""The requested values of a SPEC by key."""

POSITIONS = re.compile(r"(first|last):([0-9]+)", re.IGNORECASE)
RANGE = re.compile(r"([0-9]+)-([0-9]+)")
ONE_FOLD = re.compile(r"(not:)?([0-9]{1,6})/([0-9]{1,6})", re.IGNORECASE)
CLOSE = 5
"""Names in an error message."""


def select_part(spec: str, recordings: Sequence[Recording], query: Query) -> list[Recording]:
    """Return the recordings in the query's split or folds; all if it has neither.

    Args:
        spec: the SPEC, for messages.
        recordings: all of the dataset.
        query: the values by key.

    Raises:
        InputError: no such split or fold, nobody in it, or both in one SPEC.
    """
    if SPLIT in query and FOLD in query:
        raise InputError(
            f"{spec}: {SPLIT} and {FOLD} both divide the people; give one of them. The people "
            f"outside of {FOLD}=1/5 are {FOLD}=not:1/5: train on them, test on {FOLD}=1/5"
        )
    if FOLD in query:
        return _select_folds(spec, recordings, query[FOLD])
    if (chosen := chosen_split(spec, query)) is not None:
        return _select_split(spec, recordings, chosen)
    return list(recordings)


def select_names(
    spec: str, recordings: Sequence[Recording], every: Sequence[Recording], query: Query
) -> list[Recording]:
    """Return those of the recordings that `subject`, `recording` and `exclude` leave.

    Args:
        spec: the SPEC, for messages.
        recordings: the recordings to choose from.
        every: all of the dataset; a name must be among theirs.
        query: the values by key.

    Raises:
        InputError: a subject or recording that doesn't exist, or nothing is left.
    """
    subjects = sorted({recording.subject for recording in every}, key=natural_key)
    names = [recording.name for recording in every]
    kept = list(recordings)
    if SUBJECT in query:
        people = _find(spec, SUBJECT, query[SUBJECT], subjects, _subjects_called)
        kept = [recording for recording in kept if recording.subject in people]
    if RECORDING in query:
        chosen = _find(spec, RECORDING, query[RECORDING], names, _called)
        kept = [recording for recording in kept if recording.name in chosen]
    if EXCLUDE in query:
        excluded = _find(spec, RECORDING, query[EXCLUDE], names, _called)
        kept = [recording for recording in kept if recording.name not in excluded]
    if not kept:
        raise InputError(
            f"{spec}: none of {len(every)} recordings is left by all that it chooses; choose less "
            "narrowly"
        )
    return kept


def chosen_split(spec: str, query: Query) -> str | None:
    """Return the split that a query asks for; None if it asks for none.

    Raises:
        InputError: no such split.
    """
    values = query.get(SPLIT)
    if values is None:
        return None
    if len(values) != 1 or values[0] not in FRACTIONS:
        raise InputError(
            f"{spec}: no split {','.join(values)!r}; choose one of {', '.join(FRACTIONS)}"
        )
    return values[0]


def shortened(query_text: str) -> str:
    """Return a query as it is shown in tables: long lists of people and recordings are counted."""
    parts = []
    for part in query_text.split("&"):
        key, _, values = part.partition("=")
        count = values.count(",") + 1
        parts.append(f"{key}={count} names" if key in KEYS and count > CLOSE else part)
    return "&".join(parts)


def _select_split(spec: str, recordings: Sequence[Recording], chosen: str) -> list[Recording]:
    """Return a split's recordings: of the dataset's own split if it has one."""
    if all(SPLIT in recording.metadata for recording in recordings):
        kept = [r for r in recordings if r.metadata[SPLIT] == chosen]
    else:
        splits = split_subjects(recording.subject for recording in recordings)
        kept = [r for r in recordings if splits[r.subject] == chosen]
    if not kept:
        count = len({recording.subject for recording in recordings})
        raise InputError(f"{spec}: no subject of {count} is in split {chosen}; leave {SPLIT} out")
    return kept


def _select_folds(
    spec: str, recordings: Sequence[Recording], values: Sequence[str]
) -> list[Recording]:
    """Return the recordings of some folds, or those outside of them."""
    matches = [ONE_FOLD.fullmatch(value) for value in values]
    found = [(bool(m[1]), int(m[2]), int(m[3])) for m in matches if m is not None]
    outside, _, count = found[0] if found else (False, 0, 0)
    numbers = {number for _, number, _ in found}
    if (
        len(found) < len(values)
        or any((of, n) != (outside, count) for of, _, n in found)
        or not (count >= 2 and min(numbers) >= 1 and max(numbers) <= count)
    ):
        raise InputError(
            f"{spec}: {FOLD}={','.join(values)}; give I/N, such as {FOLD}=1/5 to 5/5, for the "
            f"first to the fifth of five folds, or {FOLD}=not:1/5 for all but the first"
        )
    subjects = {recording.subject for recording in recordings}
    if count > len(subjects):
        raise InputError(
            f"{spec}: {count} folds of {len(subjects)} subjects; each needs one, so give "
            f"{FOLD}=1/{len(subjects)} at most"
        )
    folds = fold_subjects(subjects, count)
    kept = [r for r in recordings if (folds[r.subject] in numbers) != outside]
    if not kept:
        raise InputError(f"{spec}: no subject is outside of all {count} folds; leave out fewer")
    return kept


def _find(
    spec: str,
    kind: str,
    values: Sequence[str],
    names: Sequence[str],
    called: Callable[[str, Sequence[str]], list[str]],
) -> set[str]:
    """Return the names that the values mean.

    Raises:
        InputError: a value means none, and which ones are close to it.
    """
    found: set[str] = set()
    for value in values:
        try:
            meant = called(value, names)
        except InputError as error:
            raise InputError(f"{spec}: {error}") from error
        if not meant:
            close = difflib.get_close_matches(value, names, CLOSE, cutoff=0.5)
            some = ", ".join(close or names[:CLOSE]) + ("" if close else ", ...")
            raise InputError(
                f"{spec}: no {kind} {value!r} among {len(names)}; "
                f"{'close ones are' if close else 'there are'} {some}"
            )
        found.update(meant)
    return found


def _called(value: str, names: Sequence[str]) -> list[str]:
    """Return the names equal to a value, in any case if none is equal in its own."""
    if value in names:
        return [value]
    return [name for name in names if name.lower() == value.lower()]


def _subjects_called(value: str, subjects: Sequence[str]) -> list[str]:
    """Return the subjects, in natural order, that a value means.

    Raises:
        InputError: a number that several subjects have, or more subjects than there are.
    """
    if named := _called(value, subjects):
        return named
    if match := POSITIONS.fullmatch(value):
        count = int(match[2])
        if not 1 <= count <= len(subjects):
            raise InputError(
                f"{SUBJECT}={value} of {len(subjects)} subjects; give a number from 1 to "
                f"{len(subjects)}"
            )
        first = match[1].lower() == "first"
        return list(subjects[:count] if first else subjects[-count:])
    numbers = {name: int(digits[0]) for name in subjects if len(digits := _numbers(name)) == 1}
    if match := RANGE.fullmatch(value):
        low, high = int(match[1]), int(match[2])
        return [name for name, number in numbers.items() if low <= number <= high]
    if not re.fullmatch("[0-9]+", value):
        return []
    numbered = [name for name, number in numbers.items() if number == int(value)]
    if len(numbered) > 1:
        raise InputError(
            f"{SUBJECT}={value} can be {' or '.join(numbered)}; give one name, or both"
        )
    return numbered


def _numbers(name: str) -> list[str]:
    return re.findall("[0-9]+", name)
