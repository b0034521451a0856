"""Errors by what is known of the recordings, such as skin type, motion or light."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rppg.data.find_files import natural_key
from rppg.study.tables.entries import Entry, by_dataset
from rppg.study.tables.means import Mean, by_label, counted, mean_of

UNKNOWN = "unknown"
"""The group of recordings that lack a property which others of their dataset have."""


@dataclass(frozen=True)
class Group:
    """A method on the recordings of a dataset that share a property.

    Attributes:
        key: the property, such as `skin_type`.
        value: its value.
        mean: the method's mean over them; see `Mean`.
    """

    key: str
    value: str
    mean: Mean


def breakdown_of(entries: Sequence[Entry]) -> tuple[Group, ...]:
    """Return the mean of each method on each group of recordings, by dataset and property.

    Properties that all recordings of a dataset share are left out.
    """
    return tuple(
        group
        for test, on_it in by_dataset(counted(entries)).items()
        for key in dict.fromkeys(_keys(on_it))
        for group in _groups(test, key, on_it)
    )


def _keys(entries: Sequence[Entry]) -> Iterator[str]:
    for entry in entries:
        for properties in entry.metadata.values():
            yield from properties


def _groups(test: str, key: str, entries: Sequence[Entry]) -> Iterator[Group]:
    values = {_value(entry, name, key) for entry in entries for name in entry.metadata}
    if len(values) < 2:
        return
    for value in sorted(values, key=natural_key):
        for own in by_label(entries).values():
            parts = [_with_value(entry, key, value) for entry in own]
            if parts := [entry for entry in parts if entry.windows["record"]]:
                yield Group(key, value, mean_of(test, parts))


def _value(entry: Entry, recording: str, key: str) -> str:
    return entry.metadata.get(recording, {}).get(key, UNKNOWN)


def _with_value(entry: Entry, key: str, value: str) -> Entry:
    """Return the entry with the windows of the recordings that have a value."""
    records = entry.windows["record"]
    keep = [index for index, name in enumerate(records) if _value(entry, name, key) == value]
    windows = {name: [column[i] for i in keep] for name, column in entry.windows.items()}
    return replace(entry, windows=windows)
