"""Checkpoints: bit-exact, whole or refused."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rppg.errors import InputError
from rppg.estimators.find import load_estimator
from rppg.models.checkpoint import MOST_BYTES, load_checkpoint, save_checkpoint
from rppg.models.fcus import FcusNet, ModelConfig


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, FcusNet(ModelConfig()), {"steps": 3})
    return path


def test_weights_configuration_and_output_come_back_bit_for_bit(tmp_path: Path) -> None:
    config = ModelConfig(width=5, regions=4, signatures=((0.4, 0.8, 0.4, 0.2), (0.1, 0.9, 0.3, 0)))
    net = FcusNet(config)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    path = tmp_path / "sub" / "net.safetensors"
    save_checkpoint(path, net, {"steps": 7, "of": ["a", "b"]})
    found, about = load_checkpoint(path)
    assert not found.training
    assert found.config == config
    assert about["provenance"] == {"steps": 7, "of": ["a", "b"]}
    for name, value in net.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    clips = 100 + torch.rand(1, 120, 4, 36, 36)
    with torch.no_grad():
        assert torch.equal(found(clips).regions, net.eval()(clips).regions)
    assert sorted(p.name for p in path.parent.iterdir()) == ["net.json", "net.safetensors"]


def test_the_checkpoint_that_ships_loads_and_is_finite() -> None:
    net, about = load_checkpoint()
    assert all(bool(v.isfinite().all()) for v in net.state_dict().values())
    assert about["format"] == 5


def refused(path: Path, named: Path, pattern: str) -> None:
    with pytest.raises(InputError, match=pattern) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(str(named))
    assert "\n" not in message


@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_truncated_weights_are_refused(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    refused(saved, saved, "do not fit")


def test_foreign_weights_are_refused(saved: Path) -> None:
    save_file({"conv.weight": torch.zeros(3)}, saved)
    refused(saved, saved, "do not fit")
    weights = FcusNet(ModelConfig(width=4)).state_dict()
    save_file(weights, saved)
    refused(saved, saved, "size mismatch")


def test_a_missing_file_is_named(saved: Path, tmp_path: Path) -> None:
    missing = tmp_path / "other.safetensors"
    refused(missing, missing, "no such file")
    sidecar = saved.with_suffix(".json")
    sidecar.unlink()
    refused(saved, sidecar, "no such file.*NAME.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        "{}",
        '{"format": 4}',
        '{"format": 4, "model": {"grid": "wide"}}',
        '{"format": 4, "model": {"layers": 3}}',
    ],
)
def test_a_damaged_description_is_refused(saved: Path, text: str) -> None:
    sidecar = saved.with_suffix(".json")
    sidecar.write_text(text)
    refused(saved, sidecar, "not a checkpoint's description")


def test_a_network_too_large_for_memory_is_refused(saved: Path) -> None:
    sidecar = saved.with_suffix(".json")
    about = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**about, "network": "physnet", "model": {"width": 2**15}}))
    refused(saved, sidecar, "a network of [0-9.]+ GiB")


def test_the_largest_network_of_ours_fits() -> None:
    """`BOUNDED` names it, so its bytes aren't counted."""
    fields = ModelConfig.model_json_schema()["properties"]
    width, grid, regions = (fields[name]["maximum"] for name in ("width", "grid", "regions"))
    encoder = 9 * width**2 + 9 * 4 * width + 4 * width + 1
    tables = (regions**2 + 4) * grid**2
    assert 4 * (encoder + tables) < MOST_BYTES


def test_another_format_is_refused_with_both_numbers(saved: Path) -> None:
    sidecar = saved.with_suffix(".json")
    about = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**about, "format": 99}))
    refused(saved, sidecar, "format 99.*reads 2")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_never_saved(saved: Path, value: float) -> None:
    before = {p.name: p.read_bytes() for p in saved.parent.iterdir()}
    net = FcusNet(ModelConfig())
    with torch.no_grad():
        net.attention.head.weight[0, 1] = value
    for path in (saved, saved.with_name("new.safetensors")):
        with pytest.raises(InputError, match=r"head\.weight are not finite") as caught:
            save_checkpoint(path, net, {})
        assert str(caught.value).startswith(str(path))
    assert {p.name: p.read_bytes() for p in saved.parent.iterdir()} == before


def test_what_is_not_json_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path / "a.safetensors", FcusNet(ModelConfig()), {"x": object()})
    assert not list(tmp_path.iterdir())


def test_the_file_holds_weights_alone(saved: Path) -> None:
    assert set(load_file(saved)) == {name for name, _ in FcusNet(ModelConfig()).named_parameters()}


def test_weights_that_are_not_finite_and_folders_are_refused(saved: Path) -> None:
    weights = FcusNet(ModelConfig()).state_dict()
    name = next(iter(weights))
    weights[name] = torch.full_like(weights[name], torch.nan)
    save_file(weights, saved)
    refused(saved, saved, f"{name} are not finite")
    refused(saved.parent, saved.parent, "is a folder")


def test_a_description_without_its_making_is_refused(saved: Path) -> None:
    sidecar = saved.with_suffix(".json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"provenance": None}))
    refused(saved, sidecar, "'provenance' is None")


@pytest.mark.parametrize(
    "config", [None, 3, {"clip_s": None}, {"clip_s": "x"}, {"clip_s": float("nan")}, {"clip_s": -1}]
)
def test_a_description_without_the_length_of_a_clip_is_refused(saved: Path, config: object) -> None:
    sidecar = saved.with_suffix(".json")
    about = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(about | {"provenance": {"config": config}}))
    with pytest.raises(InputError, match="clip_s in seconds") as caught:
        load_estimator(saved)
    assert str(caught.value).startswith(str(sidecar)) and "\n" not in str(caught.value)
    sidecar.write_text(json.dumps(about | {"provenance": {"config": {"clip_s": 5.0}}}))
    assert load_estimator(saved).clip_s == 5


def test_the_choice_of_an_older_network_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    net = FcusNet(ModelConfig())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.5)
    save_checkpoint(path, net, {})
    sidecar = path.with_suffix(".json")
    sidecar.write_text(sidecar.read_text().replace('"format": 5', '"format": 4'))
    loaded, fresh = load_checkpoint(path)[0].state_dict(), FcusNet(ModelConfig()).state_dict()
    for name, value in net.state_dict().items():
        expected = fresh[name] if name in ("log_sharpness", "loudness") else value
        assert torch.equal(loaded[name], expected), name
