"""Splits by subject: the same on every machine, and no subject in two of them."""

import hashlib
from collections.abc import Iterable

FRACTIONS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def split_subjects(subjects: Iterable[str]) -> dict[str, str]:
    """Each subject's split.

    Subjects are put into the order of their names' hashes, and the order is cut by `FRACTIONS`: no
    split is empty from three subjects on, and the order of files doesn't matter.

    Example:
        >>> found = split_subjects(f"subject{n}" for n in range(1, 11))
        >>> [sum(split == name for split in found.values()) for name in FRACTIONS]
        [6, 2, 2]
    """
    order = sorted(set(subjects), key=lambda name: hashlib.sha256(name.encode()).digest())
    count = len(order)
    test = max(round(FRACTIONS["test"] * count), min(count - 1, 1))
    validation = max(round(FRACTIONS["validation"] * count), min(count - 1 - test, 1))
    train = count - validation - test
    names = ["train"] * train + ["validation"] * validation + ["test"] * test
    return dict(zip(order, names, strict=True))
