"""Exported networks: each decomposition, refusals, and files that run without the package."""

import copy
import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import rppg.export.network
from rppg.errors import InputError
from rppg.export import describe, export, operators, run_onnx
from rppg.export.network import save_onnx, trace
from rppg.models.checkpoint import SHIPPED, digest_of, load_checkpoint, save_checkpoint
from rppg.models.fcus import FcusNet, ModelConfig
from rppg.models.physnet import PhysNet, PhysNetConfig
from rppg.predict import predict_crops
from rppg.synthetic.domains import DOMAINS
from rppg.synthetic.subjects import draw_subject, render_crops

ROOT = Path(__file__).parents[2]
LENGTHS = (151, 152, 188, 228, 235, 299, 300, 301, 450)
SIZE = 36  # of the crops that are rendered
ON_EDGE = (240, 290, 340, 360)
"""With mirrored ends 300, 350, 400, 420 frames: the band's lower edge, 0.6 Hz or (300, 420) 0.5 Hz,
is a spectral line, kept or not by rounding."""


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("time", [1, 2, 7, 8, 361])
def test_fourier_transforms(time):
    x = double(2, 3, time)
    spectrum = torch.fft.rfft(x)
    torch.testing.assert_close(operators.rfft(x), spectrum)
    torch.testing.assert_close(operators.irfft(spectrum, time), torch.fft.irfft(spectrum, time))
    weights = torch.rand(spectrum.shape[-1], dtype=torch.float64) > 0.5
    torch.testing.assert_close(operators.multiply(spectrum, weights), spectrum * weights)
    assert operators.multiply(x, x) is NotImplemented


def test_the_fourier_matrices_are_exact_in_float32():
    """Angles in float32 would be off by 1e-3 at the end of a long clip."""
    time = 3660
    cos, _ = operators.fourier(time // 2 + 1, time, torch.zeros(1))
    exact, _ = operators.fourier(time // 2 + 1, time, torch.zeros(1, dtype=torch.float64))
    assert float((cos - exact).abs().max()) < 1e-6


@pytest.mark.parametrize("size", [1, 3, 10])
def test_solve(size):
    root = double(4, 2, size, size)
    a = root @ root.mT + 0.1 * torch.eye(size)
    b = double(4, 2, size, 5)
    torch.testing.assert_close(operators.solve(a, b), torch.linalg.solve(a, b))
    shared = b[0, 0].expand(4, 2, -1, -1)
    torch.testing.assert_close(operators.solve(a, b[0, 0]), torch.linalg.solve(a, shared))


@pytest.mark.parametrize("size", [1, 2, 7, 36])
def test_median(size):
    x = double(2, 3, size)
    values, indices = operators.median(x, -1)
    assert torch.equal(values, x.median(-1).values)
    assert torch.equal(x.gather(-1, indices[..., None])[..., 0], values)


def test_sigmoid_of_far_below():
    x = torch.linspace(-100, 100, 401)
    torch.testing.assert_close(operators.sigmoid(x), torch.sigmoid(x), rtol=1e-6, atol=1e-38)


# --- refusals --------------------------------------------------------------------------------


def refusal(*arguments):
    with pytest.raises(InputError) as raised:
        export(*arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_cannot_be_exported_is_told(tmp_path, monkeypatch):
    out = tmp_path / "net.onnx"
    assert ".pt2" in refusal(None, out, "torch")
    assert "--size 17" in refusal(None, out, "onnx", 17)
    peer, one = tmp_path / "peer.safetensors", tmp_path / "one.safetensors"
    save_checkpoint(peer, PhysNet(PhysNetConfig(width=4)), {})
    assert f"{peer}: a checkpoint of physnet" in refusal(peer, out)
    save_checkpoint(one, FcusNet(ModelConfig(signatures=((0.3, 0.8, 0.5),))), {})
    assert f"{one}: its one signature" in refusal(one, out)
    assert "no such file" in refusal(tmp_path / "nothing.safetensors", out)
    monkeypatch.setattr(rppg.export.network, "REQUIREMENTS", ("onnx", "no_such_runtime"))
    assert "no_such_runtime" in refusal(None, out) and "gradreg[export]" in refusal(None, out)
    assert not out.exists()


# --- files -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faces():
    """Crops of two people in front of different cameras, `(2, T, 3, S, S)`."""
    frames = [
        render_crops(draw_subject(DOMAINS[name], 7, 20.0)).frames[:450] for name in ("lab", "wild")
    ]
    return torch.from_numpy(np.stack(frames)).permute(0, 1, 4, 2, 3).float()


def untrained(folder, config):
    torch.manual_seed(3)
    save_checkpoint(folder / "untrained.safetensors", FcusNet(config), {"config": {}})
    return folder / "untrained.safetensors"


def expected(net, clips):
    with torch.no_grad():
        return net.wave(net(clips)).numpy()


def difference(found, reference):
    return np.max(np.abs(found - reference)) / np.std(reference)


def rounding(net, clips):
    """How far 32 bits are from 64: up to 1e-4 in the untrained network, by the machine."""
    return difference(expected(net, clips), expected(copy.deepcopy(net).double(), clips.double()))


@pytest.mark.slow
@pytest.mark.parametrize("network", ["shipped", "untrained"])
def test_onnx_gives_what_pytorch_gives(network, faces, tmp_path):
    checkpoint = None if network == "shipped" else untrained(tmp_path, ModelConfig())
    out = tmp_path / "net.onnx"
    done = export(checkpoint, out, "onnx", SIZE)
    assert done.difference < (1e-4 if network == "shipped" else 1e-3)
    net, _ = load_checkpoint(checkpoint)
    for time in (*LENGTHS, *ON_EDGE):
        clips = faces[:, :time]
        found = difference(run_onnx(out, clips.numpy()), expected(net, clips))
        assert found < max(1e-4, 4 * rounding(net, clips)), time
    clips = faces[1:, 100:300]
    once = run_onnx(out, clips.numpy())
    assert difference(once, expected(net, clips)) < max(1e-4, 4 * rounding(net, clips))
    for _ in range(20):
        assert np.array_equal(run_onnx(out, clips.numpy()), once)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    _check_the_graph(out, done.metadata, checkpoint or SHIPPED)


def _check_the_graph(out, metadata, checkpoint):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    assert not {node.op_type for node in model.graph.node} & {"DFT", "ScatterND", "Col2Im"}
    (entry,) = model.metadata_props
    assert entry.key == "rppg" and json.loads(entry.value) == asdict(metadata)
    assert metadata.checkpoint == digest_of(checkpoint) and (metadata.fps, metadata.size) == (
        30.0,
        SIZE,
    )
    dims = [
        dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim
    ]
    assert dims == ["batch", "frames", 3, SIZE, SIZE]
    assert rppg.export.network.__file__.rpartition("/rppg/")[0].encode() not in out.read_bytes()


class Floored(nn.Module):
    def forward(self, clips):
        power = clips.mean((2, 3, 4))
        return power / (power + 1e-8)


def test_tiny_constants_stay_in_the_graph(tmp_path):
    """An optimizer that compares with 0 to a tolerance would remove them."""
    pytest.importorskip("onnxscript")
    out = tmp_path / "floored.onnx"
    clips = torch.full((2, 5, 3, 12, 12), 1e-8)
    program = torch.export.export(Floored(), (clips,))
    save_onnx(program, describe(FcusNet(ModelConfig(grid=12)), "", 12), out)
    assert run_onnx(out, clips.numpy()) == pytest.approx(0.5)


@pytest.mark.slow
def test_the_page_finds_the_heart_rate_without_this_package(tmp_path):
    """The block of docs/how-to/export.md, on a rendered person, in a process of its own."""
    assert export(None, tmp_path / "net.onnx").metadata.size == 48
    crops = render_crops(draw_subject(DOMAINS["lab"], 7, 12.0))
    np.save(tmp_path / "frames.npy", crops.frames.repeat(4, 1).repeat(4, 2))  # face: 24..120
    page = (ROOT / "docs" / "how-to" / "export.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python[^\n]*\n(.*?)```", page, re.DOTALL)
    block += "\nimport sys; assert not {'torch', 'rppg'} & set(sys.modules); print(bpm)"
    ended = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert abs(float(ended.stdout) - predict_crops(crops).hr_bpm) < 1


@pytest.mark.slow
def test_other_crops_rates_and_channels(tmp_path):
    signatures = ((0.33, 0.77, 0.53, 0.4), (0.3, 0.7, 0.6, 0.2))
    config = ModelConfig(fps=25, grid=12, regions=3, window_s=3.2, signatures=signatures)
    done = export(untrained(tmp_path, config), tmp_path / "net.onnx", "onnx", 12)
    assert (done.metadata.least_frames, done.metadata.channels, done.metadata.size) == (81, 4, 12)
    bvp = run_onnx(
        done.path, np.random.default_rng(0).uniform(0, 255, (3, 97, 4, 12, 12)).astype("f4")
    )
    assert bvp.shape == (3, 97)


PLAIN = """
import sys, numpy, torch
program = torch.export.load("net.pt2")
clips = torch.from_numpy(numpy.load("clips.npy"))
numpy.save("bvp.npy", program.module()(clips).detach().numpy())
assert not {"rppg", "gradreg"} & set(sys.modules)
try:
    program.module()(clips[:, :150])
except RuntimeError as error:
    print(error)
"""


@pytest.mark.slow
def test_pt2_runs_without_this_package(faces, tmp_path):
    done = export(None, tmp_path / "net.pt2", "torch", SIZE)
    clips = faces[:, :290]
    np.save(tmp_path / "clips.npy", clips.numpy())
    command = [sys.executable, "-c", PLAIN]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "151" in ended.stdout
    net, _ = load_checkpoint()
    assert difference(np.load(tmp_path / "bvp.npy"), expected(net, clips)) < 1e-5
    extra = {"rppg.json": ""}
    torch.export.load(done.path, extra_files=extra)
    assert json.loads(extra["rppg.json"]) == asdict(done.metadata)


@pytest.mark.slow
def test_a_wrong_file_is_not_put_in_place(tmp_path, monkeypatch):
    out = tmp_path / "net.pt2"
    out.write_text("mine")
    monkeypatch.setattr(rppg.export.network, "TOLERANCE", -1.0)
    assert "not written" in refusal(None, out, "torch")
    assert out.read_text() == "mine" and list(tmp_path.iterdir()) == [out]


def test_the_network_is_traced_for_any_length():
    net, _ = load_checkpoint()
    program = trace(net, describe(net, "", 18))
    clips = 100 + torch.rand(3, 290, 3, 18, 18)
    with torch.no_grad():
        assert difference(program.module()(clips).numpy(), expected(net, clips)) < 1e-5
