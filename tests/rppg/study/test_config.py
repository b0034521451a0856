"""A study as one file: what it says, what it refuses, and that it comes back as it was."""

import re
import tomllib
from pathlib import Path

import pytest

from rppg.errors import InputError
from rppg.peers.config import PeerConfig
from rppg.study.config import StudyConfig, learner_config, read_study
from rppg.train.config import TrainConfig


def test_a_study_comes_back_from_its_file(tmp_path):
    study = StudyConfig(
        data=['a "quoted" name = with \\ and ü=synthetic:lab', "synthetic:webcam"],
        methods=["fcus", "contrast-phys", "pos+skin"],
        protocol="intra",
        checkpoints={"ours, 2024": "runs/ours.safetensors"},
        waves=True,
        evaluation={"window_s": 30.0, "hr": "peaks"},
        settings={"fcus": {"epochs": 2, "smooth": False, "project": {"energy": 0.25}}},
    )
    path = tmp_path / "study.toml"
    path.write_text(study.to_toml(), encoding="utf-8")
    assert read_study(path, {}) == study
    assert [d.name for d in study.data] == ['a "quoted" name', "webcam"]


def test_the_file_in_the_how_to_is_a_study(tmp_path):
    page = Path(__file__).parents[3] / "docs/how-to/benchmark.md"
    (block,) = re.findall(r"```toml title=\"study.toml\"\n(.*?)```", page.read_text(), re.DOTALL)
    (tmp_path / "study.toml").write_text(block)
    study = read_study(tmp_path / "study.toml", {})
    assert [dataset.name for dataset in study.data] == ["UBFC", "PURE", "walking"]
    assert learner_config(study, "fcus").smooth is None
    assert learner_config(study, "contrast-phys").epochs == 30


def test_options_win_over_the_file(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text('seeds = 5\nmethods = ["pos"]\n[data]\nlab = "synthetic:lab"\n')
    study = read_study(path, {"seeds": 2, "methods": None})
    assert (study.seeds, study.methods) == (2, ("pos",))
    assert tomllib.loads(study.to_toml())["data"] == {"lab": "synthetic:lab"}


def test_options_of_the_evaluation_win_one_by_one(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text('[evaluation]\nwindow_s = 20.0\nhr = "peaks"\n[data]\nlab = "synthetic:lab"\n')
    evaluation = read_study(path, {"evaluation": {"window_s": 30.0}}).evaluation
    assert (evaluation.window_s, evaluation.hr) == (30.0, "peaks")
    protocol = evaluation.build()
    assert (protocol.window_s, protocol.stride_s, protocol.hr) == (30.0, 30.0, "peaks")
    assert read_study(path, {}).evaluation.window_s == 20.0


def test_checkpoints_alone_need_no_method():
    fields = {"data": ["synthetic:lab"], "checkpoints": {"ours": "x.safetensors"}}
    assert read_study(None, fields).methods == ()
    assert read_study(None, {**fields, "methods": ("pos",)}).methods == ("pos",)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"methods": ["deepphys"]}, "no method 'deepphys'"),
        ({"methods": ["fcus+skin"]}, "no method 'fcus\\+skin'"),
        ({"data": ["synthetic:lab", "synthetic:lab?amplitude=0.5"]}, "'lab' appears twice"),
        ({"settings": {"pos": {}}}, "isn't trained"),
        ({"settings": {"fcus": {"seed": 1}}}, "settings.fcus.seed: said by the study"),
        ({"settings": {"fcus": {"depth": 3}}}, "settings.fcus.depth: Extra"),
        ({"protocol": "leave-one-out"}, "two or more"),
        ({"train_on": ["lab", "wild"]}, "train_on: no dataset 'wild'; there are lab"),
        ({"epochs": 3}, "epochs"),
        ({"methods": []}, "no methods and no checkpoints"),
        ({"checkpoints": {"pos+skin": "x.safetensors"}}, "called 'pos\\+skin', as a method is"),
        ({"checkpoints": {" ": "x.safetensors"}}, "without a name"),
        ({"evaluation": {"hr": "peak"}}, "'spectrum' or 'peaks'"),
        ({"evaluation": {"hr": "peaks", "continuity": True}}, "leave continuity out"),
        ({"data": None}, "give --data"),
    ],
)
def test_what_is_refused(fields, words):
    with pytest.raises(InputError, match=words) as refused:
        read_study(None, {"data": ["synthetic:lab"], **fields} if fields.get("data", 1) else {})
    assert "\n" not in str(refused.value)


def test_levels_are_switched_by_true_and_false():
    settings = {"fcus": {"mask": False}, "sinc": {"smooth": True, "epochs": 7}}
    study = StudyConfig(data=["synthetic:lab"], settings=settings)
    fcus = learner_config(study, "fcus", seed=4)
    assert isinstance(fcus, TrainConfig) and fcus.mask is None and fcus.smooth is not None
    assert fcus.seed == 4 and fcus.subjects == study.subjects
    sinc = learner_config(study, "sinc")
    assert isinstance(sinc, PeerConfig) and sinc.levels == ("smooth",) and sinc.epochs == 7
    ablated = learner_config(study, "sinc", levels=("mask",))
    assert isinstance(ablated, PeerConfig) and ablated.levels == ("mask",)
