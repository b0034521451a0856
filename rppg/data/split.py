"""Splits and folds by subject: the same on every machine, each subject in one of them."""

import hashlib
from collections.abc import Iterable

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def split_subjects(subjects: Iterable[str]) -> dict[str, str]:
    """Return each subject's split.

    Subjects are sorted by a hash of their names and divided according to `FRACTIONS`. With three
    subjects or more, no split is empty. The order of the files doesn't matter.

    Example:
        >>> splits = split_subjects(f"subject{n}" for n in range(1, 11))
        >>> [sum(split == name for split in splits.values()) for name in FRACTIONS]
        [6, 2, 2]
    """
    order = _order(subjects)
    count = len(order)
    test = max(round(FRACTIONS["test"] * count), min(count - 1, 1))
    validation = max(round(FRACTIONS["validation"] * count), min(count - 1 - test, 1))
    train = count - validation - test
    names = ["train"] * train + ["validation"] * validation + ["test"] * test
    return dict(zip(order, names, strict=True))


def fold_subjects(subjects: Iterable[str], count: int) -> dict[str, int]:
    """Return each subject's fold, 1 to `count`.

    Subjects are sorted by a hash of their names and dealt out in turn: the sizes of two folds
    differ by at most one subject. The order of the files doesn't matter.

    Example:
        >>> folds = fold_subjects((f"subject{n}" for n in range(1, 13)), 5)
        >>> [sum(fold == number for fold in folds.values()) for number in range(1, 6)]
        [3, 3, 2, 2, 2]
    """
    return {subject: index % count + 1 for index, subject in enumerate(_order(subjects))}


def _order(subjects: Iterable[str]) -> list[str]:
    return sorted(set(subjects), key=lambda name: hashlib.sha256(name.encode()).digest())
