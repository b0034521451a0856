"""Old names of training: arguments, attributes, options, settings, checkpoints and states."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rppg.adapt import AdaptResult, Evidence, adapt
from rppg.errors import InputError
from rppg.estimators.find import load_estimator
from rppg.models.checkpoint import load_checkpoint, load_network, save_checkpoint
from rppg.models.fcus import FcusNet, ModelConfig
from rppg.peers.config import PeerConfig
from rppg.peers.train import PeerResult, train_peer
from rppg.train import TrainConfig, TrainResult, train
from rppg.train.resume import RunState, digest_of_run, is_finished, save_state, settings_of

SETTINGS = settings_of("sinc", PeerConfig())
OLD_SETTINGS = {
    "recipe": "sinc",
    "config": {"recipe" if k == "method" else k: v for k, v in SETTINGS["config"].items()},
}
"""The same run, as version 0.1 wrote it."""


@pytest.mark.parametrize("function", [train, train_peer, adapt])
def test_records_are_recordings(function) -> None:
    given = [TrainConfig()] if function is adapt else []
    with (
        pytest.warns(DeprecationWarning, match=r"\(records=\.\.\.\) is now recordings=\.\.\."),
        pytest.raises(InputError, match="there are none"),
    ):
        function(*given, records=[])
    with pytest.raises(TypeError, match="both recordings and records"):
        function(*given, records=[], recordings=[])


def test_made_is_provenance() -> None:
    net, evidence = FcusNet(ModelConfig()), Evidence("people", ("a",), (0.2,), (0.1,), 0.1, 0.05)
    results = [
        TrainResult(net, [], {"steps": 1}),
        PeerResult(net, [], {"steps": 1}, []),
        AdaptResult(net, net, evidence, [], {"steps": 1}, None, {}),
    ]
    for result in results:
        with pytest.warns(DeprecationWarning, match=r"Result\.made is now provenance"):
            assert result.made == {"steps": 1}
    with pytest.warns(DeprecationWarning, match=r"told\(\) is now Evidence\.summary\(\)"):
        assert evidence.told() == evidence.summary()


def test_a_recipe_is_a_method() -> None:
    with pytest.warns(DeprecationWarning, match="recipe is now method") as caught:
        config = PeerConfig(recipe="contrast-phys")
    assert caught[0].filename == __file__
    assert config == PeerConfig(method="contrast-phys")
    with pytest.warns(DeprecationWarning, match="recipe is now method"):
        assert config.recipe == "contrast-phys"
    with pytest.raises(ValueError, match="leave recipe out"):
        PeerConfig(recipe="sinc", method="sinc")


@pytest.mark.parametrize(
    ("arguments", "file", "old"),
    [(["--recipe", "sinc"], "", "--recipe"), ([], 'recipe = "sinc"\n', "recipe")],
)
def test_the_command_takes_a_recipe_with_a_line_on_stderr(
    tmp_path: Path, arguments: list[str], file: str, old: str
) -> None:
    (tmp_path / "a.toml").write_text(file)

    def error_of(*more: str) -> list[str]:
        command = [sys.executable, "-m", "rppg", "train", "--config", "a.toml", *arguments, *more]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        return ended.stderr.splitlines()

    new = old.replace("recipe", "method")
    line, error = error_of("--adapt")
    assert line == f"rppg: {old} is now {new}; the old name goes in the next version"
    assert error.startswith("rppg: --adapt: method sinc")
    if arguments:
        (line,) = error_of("--method", "sinc")
        assert line.startswith("rppg: --recipe: the old name of --method")
    command = [sys.executable, "-m", "rppg", "train", "--help"]
    help_text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--method" in help_text and "--recipe" not in help_text


def in_format_2(path: Path) -> None:
    """Rewrite a checkpoint's description as version 0.1 wrote it."""
    file = path.with_suffix(".json")
    description = json.loads(file.read_text())
    names = {"provenance": "made"}
    file.write_text(
        json.dumps({names.get(k, k): v for k, v in description.items()} | {"format": 2})
    )


def test_a_checkpoint_of_format_2_is_read(tmp_path: Path) -> None:
    path, net = tmp_path / "net.safetensors", FcusNet(ModelConfig())
    save_checkpoint(path, net, {"config": {"clip_s": 7.0}})
    in_format_2(path)
    loaded, description = load_network(path)
    for name, value in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert description["provenance"] == {"config": {"clip_s": 7.0}} and "made" not in description
    assert load_estimator(path).clip_s == 7
    with pytest.warns(DeprecationWarning, match='"made" is now "provenance"'):
        assert description["made"] == {"config": {"clip_s": 7.0}}
    with pytest.raises(KeyError):
        description["nothing"]
    about = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(about | {"made": 3}))
    with pytest.raises(InputError, match="'made' is 3"):
        load_checkpoint(path)


def test_a_state_with_a_recipe_is_of_the_same_run(tmp_path: Path) -> None:
    path = tmp_path / "resume.safetensors"
    save_state(path, {**OLD_SETTINGS, "data": "x"}, {"log": []})
    assert RunState(path, {**SETTINGS, "data": "x"}, resume=True).load() == {"log": []}
    other = settings_of("sinc", PeerConfig(seed=3))
    with pytest.raises(InputError, match=r"config\.seed \(0 there, 3 here\)"):
        RunState(path, {**other, "data": "x"}, resume=True).load()
    other = settings_of("contrast-phys", PeerConfig(method="contrast-phys"))
    with pytest.raises(InputError, match=r"differs in method \(sinc there, contrast-phys here\)"):
        RunState(path, {**other, "data": "x"}, resume=True).load()


def test_a_finished_run_of_a_recipe_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, FcusNet(ModelConfig()), {"run": digest_of_run(OLD_SETTINGS)})
    in_format_2(path)
    assert is_finished(tmp_path, SETTINGS)
    with pytest.raises(InputError, match="of another run"):
        is_finished(tmp_path, settings_of("sinc", PeerConfig(seed=3)))
