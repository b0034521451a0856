"""People and recordings that a SPEC chooses."""

from pathlib import Path

import pytest

from rppg.data.specs import open_dataset, open_datasets
from rppg.errors import InputError
from rppg.types import Recording


def opened(spec: str) -> list[Recording]:
    return open_dataset(spec, split="test", subjects=1)


def people(spec: str) -> list[str]:
    return list(dict.fromkeys(recording.subject for recording in opened(spec)))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve people of two recordings: s1_T1, s1_T2, ..., s12_T2. Nothing is read at listing."""
    path = tmp_path_factory.mktemp("study") / "study.csv"
    rows = [f"s{n}_T{task},,s{n},T{task}" for n in range(1, 13) for task in (1, 2)]
    path.write_text("\n".join(["video,ground_truth,subject,task", *rows]))
    return path


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("1,2", ["s1", "s2"]),  # not s10 to s12
        ("s10", ["s10"]),
        ("S10,1", ["s1", "s10"]),
        ("9-11", ["s9", "s10", "s11"]),
        ("first:2", ["s1", "s2"]),
        ("last:2,3", ["s3", "s11", "s12"]),  # in natural order
    ],
)
def test_people_by_name_number_and_position(manifest, chosen: str, expected: list[str]) -> None:
    assert people(f"{manifest}?subject={chosen}") == expected


def test_recordings_by_name(manifest) -> None:
    kept = opened(f"{manifest}?exclude=s3_T1,s4_T1,s4_T2&task=T1&subject=3-5")
    assert [recording.name for recording in kept] == ["s5_T1"]
    kept = opened(f"{manifest}?recording=s3_T1,s4_t1")
    assert [recording.name for recording in kept] == ["s3_T1", "s4_T1"]


def test_folds_divide_people_and_nothing_moves_them(manifest) -> None:
    folds = [people(f"{manifest}?fold={k}/5") for k in range(1, 6)]
    assert sorted(map(len, folds)) == [2, 2, 2, 3, 3]
    assert len(set().union(*folds)) == 12
    # Fixed for good: a change would let what was trained on be tested on.
    assert folds[0] == ["s1", "s4", "s7"]
    rest = people(f"{manifest}?fold=not:1/5")
    assert set(rest) == set().union(*folds[1:])
    assert set(people(f"{manifest}?fold=not:1/5,not:2/5")) == set().union(*folds[2:])
    assert set(people(f"{manifest}?fold=1/5,2/5")) == {*folds[0], *folds[1]}
    assert people(f"{manifest}?fold=1/5&exclude=s2_T1&task=T1") == folds[0]
    assert opened(f"{manifest}?fold=1/5")[0].split == "fold 1/5"


def test_a_column_of_the_manifest_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "study.csv"
    path.write_text("video,ground_truth,subject,fold\na,,x,1\nb,,y,2\n")
    assert people(f"{path}?fold=2") == ["y"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("subject=s13", r"no subject 's13' among 12; close ones are s3, s1"),
        ("subject=13", r"no subject '13' among 12"),
        ("subject=anna", r"no subject 'anna' among 12; there are s1, s2"),
        ("subject=first:13", r"first:13 of 12 subjects; give a number from 1 to 12"),
        ("exclude=s3-T1", r"no recording 's3-T1' among 24; close ones are s3_T1"),
        ("recording=s3", r"no recording 's3' among 24; close ones are s3_T"),
        ("fold=1/5&split=test", r"both divide the people.*fold=not:1/5"),
        ("fold=1", r"fold=1; give I/N"),
        ("fold=6/5", r"give I/N"),
        ("fold=0/5", r"give I/N"),
        ("fold=1/1", r"give I/N"),
        ("fold=!1/5", r"fold=not:1/5 for all but the first"),
        ("fold=1/5,not:2/5", r"give I/N"),
        ("fold=1/5,1/4", r"give I/N"),
        ("fold=1/13", r"13 folds of 12 subjects"),
        ("fold=not:1/2,not:2/2", r"no subject is outside of all 2 folds"),
        ("subject=1&exclude=s1_T1,s1_T2", r"none of 24 recordings is left"),
    ],
)
def test_a_choice_that_cannot_be_met(manifest, query: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        opened(f"{manifest}?{query}")
    assert str(caught.value).startswith(f"{manifest}?{query}") and "\n" not in str(caught.value)


def test_a_number_that_two_people_have(tmp_path: Path) -> None:
    path = tmp_path / "study.csv"
    path.write_text("video,ground_truth,subject\na,,F001\nb,,M001\n")
    with pytest.raises(InputError, match="subject=1 can be F001 or M001"):
        opened(f"{path}?subject=1")


def test_folds_of_a_synthetic_domain_are_refused() -> None:
    with pytest.raises(InputError, match=r"people of their own.*leave fold out"):
        opened("synthetic:lab?fold=1/5")


def test_long_lists_are_counted_in_names_and_kept_apart(manifest) -> None:
    specs = [
        f"{manifest}?exclude={','.join(f's{n}_T{task}' for n in range(1, 8))}" for task in (1, 2)
    ]
    assert opened(specs[0])[0].dataset == f"{manifest}?exclude=7 names"
    recordings = open_datasets(specs, split="test", subjects=1)
    assert list(dict.fromkeys(recording.dataset for recording in recordings)) == specs
