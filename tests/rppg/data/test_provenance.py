"""The provenance of data, as checkpoints and reports list it."""

import pytest

from rppg.data.provenance import data_provenance
from rppg.errors import InputError
from rppg.types import FaceCrops, Recording


def nothing() -> FaceCrops:
    raise InputError("there are no crops")


def recording(dataset: str, name: str, subject: str, split: str = "all") -> Recording:
    return Recording(name, dataset, subject, nothing, spec=f"{dataset}:/data", split=split)


def test_each_dataset_is_told_with_its_people_and_what_was_left_out() -> None:
    recordings = [recording("a", f"{s}/{k}", s) for s in ("s10", "s2", "s1") for k in range(2)]
    recordings.append(recording("b", "s1/0", "s1", "test"))
    first, second = data_provenance(recordings, {("a", "s1/0"), ("a", "s2/0"), ("a", "s2/1")})
    assert first.to_json() == {
        "dataset": "a", "spec": "a:/data", "split": "all", "n_subjects": 2,
        "subjects": ["s1", "s10"], "recordings": 3, "left_out": ["s2/0", "s2/1", "s1/0"],
    }  # fmt: skip
    assert (second.subjects, second.recordings, second.left_out) == (("s1",), 1, ())
    assert second.split == "test"


@pytest.mark.parametrize(
    ("numbers", "reported"),
    [
        (range(100), ("0-99",)),
        ((7, 9, 8, 12, 100, 101), ("7-9", "12", "100-101")),
        ((5,), ("5",)),
    ],
)
def test_synthetic_people_are_told_as_ranges(numbers, reported) -> None:
    recordings = [recording("synthetic:lab@1", f"lab-{n}", str(n), "train") for n in numbers]
    (part,) = data_provenance(recordings, ())
    assert part.subjects == reported and part.n_subjects == len(numbers)
