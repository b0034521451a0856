"""Files of waves stay in their folder, one for each recording."""

from pathlib import Path

import numpy as np
import pytest

from rppg.evaluation import Waves
from rppg.report.waves import file_name, write_waves


def test_a_file_has_a_column_for_each_method_and_missing_values_are_empty(tmp_path: Path) -> None:
    wave = np.array([0.5, np.nan])
    waves = Waves("/data/a?x=1", "../1/0", np.array([0.0, 1 / 30]), None, {"a, b": wave})
    path = write_waves(tmp_path, waves)
    assert path == tmp_path / "%2Fdata%2Fa%3Fx=1" / "%2E.%2F1%2F0.csv"
    assert path.read_text() == 'time_s,true,"a, b"\n0.000000,,0.5\n0.033333,,\n'


@pytest.mark.parametrize("one", ["a/b", "..", "x" * 400 + "1", "é" * 150 + "1"])
def test_names_stay_different_and_short(one: str) -> None:
    other = one[:-1] + "2" if one.endswith("1") else one.replace("/", "%2F").replace(".", "%2E")
    assert file_name(one) != file_name(other)
    assert len(file_name(one).encode()) <= 200 and not file_name(one).startswith(".")
