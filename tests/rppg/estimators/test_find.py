"""Estimators by name."""

from pathlib import Path

import numpy as np
import pytest

from rppg.errors import InputError
from rppg.estimators import FcusEstimator, find_estimator, find_estimators
from rppg.estimators.find import SKIN, TABLE, label_checkpoints
from rppg.methods import METHODS
from rppg.models.checkpoint import SHIPPED


def test_skin_is_a_suffix_or_an_option() -> None:
    frames = np.random.default_rng(0).uniform(80, 120, (90, 12, 12, 3)).astype(np.float32)
    frames[:, :, :3] = 20  # hair
    by_suffix = find_estimator("pos+skin")(frames, 30.0)
    np.testing.assert_array_equal(by_suffix, find_estimator("pos", skin=True)(frames, 30.0))
    assert not np.array_equal(by_suffix, find_estimator("pos")(frames, 30.0))
    for wrong in ("fcus+skin", "untrained+skin", "nope+skin"):
        with pytest.raises(InputError, match="skin"):
            find_estimators(methods=[wrong])


def test_a_table_has_every_method_and_the_best_classical_ones_with_the_mask() -> None:
    assert {name.removesuffix(SKIN) for name in TABLE} == {"fcus", "untrained", *METHODS}
    assert list(find_estimators()) == list(TABLE)
    assert {"pos+skin", "chrom+skin"} <= set(TABLE)


def test_checkpoints_come_first_and_alone_unless_methods_are_named() -> None:
    found = find_estimators([SHIPPED], ["green"])
    assert list(found) == [str(SHIPPED), "green"]
    assert isinstance(found[str(SHIPPED)], FcusEstimator)
    assert list(find_estimators([SHIPPED])) == [str(SHIPPED)]
    with pytest.raises(InputError, match=r"nothing\.safetensors: no such file"):
        find_estimators([Path("nothing.safetensors")])


def test_checkpoints_are_named_by_a_label(tmp_path: Path) -> None:
    odd = tmp_path / "lr=0.1.safetensors"
    odd.touch()
    found = label_checkpoints(["mine=runs/a=b.safetensors", str(odd), "plain.safetensors"])
    assert found == {
        "mine": Path("runs/a=b.safetensors"),
        str(odd): odd,
        "plain.safetensors": Path("plain.safetensors"),
    }
    with pytest.raises(InputError, match="two checkpoints are called 'a'"):
        label_checkpoints(["a=x", "a=y"])
    for nothing in ("=x", "a="):
        with pytest.raises(InputError, match="give NAME=PATH"):
            label_checkpoints([nothing])
    with pytest.raises(InputError, match="a checkpoint and a method are both called 'pos'"):
        find_estimators({"pos": SHIPPED}, ["pos"])
