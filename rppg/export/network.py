"""A trained network as a file that runs without this package: ONNX, or PyTorch's own `.pt2`.

`torch.export` traces the network as it is, for any batch and any number of frames from
`About.least_frames` on; see `rppg.export.operators`. Before a file is put in place, its output is
held against PyTorch's.
"""

import importlib.util
import io
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

import rppg
from rppg.atomic import atomic_path
from rppg.errors import InputError
from rppg.export.operators import DECOMPOSITIONS, SymbolicLengths
from rppg.models.checkpoint import SHIPPED, digest_of, load_checkpoint
from rppg.models.fcus import FcusNet
from rppg.types import CROP_TO_FACE
from rppg.video.crop import CROP_SIZE

FORMAT = 1
"""Of the metadata: `About`."""

Kind = Literal["onnx", "torch"]
SUFFIX: Mapping[Kind, str] = {"onnx": ".onnx", "torch": ".pt2"}
NEEDED = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
TOLERANCE = 1e-3
"""Largest difference from PyTorch that is let pass, against the BVP's deviation: rounding makes
1e-5, in networks that are badly conditioned 1e-4; a wrong operation makes 0.1."""


@dataclass(frozen=True)
class About:
    """What a file says of itself: the metadata `rppg` of ONNX, `rppg.json` of `.pt2`; JSON.

    Attributes:
        format: of this.
        network: fcus.
        fps: rate of the frames, Hz.
        channels: spectral channels of the frames, red first.
        size: side of a frame, pixels.
        crop_to_face: side of a frame in sides of the face box, forehead to chin.
        least_frames: shortest clip.
        input: name and meaning of the input.
        output: name and meaning of the output.
        checkpoint: SHA-256 of the weights' file.
        rppg: version of the package.
    """

    format: int
    network: str
    fps: float
    channels: int
    size: int
    crop_to_face: float
    least_frames: int
    input: str
    output: str
    checkpoint: str
    rppg: str


@dataclass(frozen=True)
class Exported:
    """A written file, what it says of itself, and its largest difference from PyTorch against the
    BVP's deviation."""

    path: Path
    about: About
    difference: float


def export(
    checkpoint: Path | None, out: Path, kind: Kind = "onnx", size: int | None = None
) -> Exported:
    """Write the network of a checkpoint as one file, which is first held against PyTorch.

    Args:
        checkpoint: as `load_checkpoint` takes it.
        out: ends in `.onnx` or `.pt2`, as `kind` says.
        size: side of the frames it will take; None for that of the crops that `rppg` makes.

    Raises:
        InputError: a library is missing, a name or size does not fit, as `load_checkpoint` does, or
            the file does not give what PyTorch gives.
    """
    if out.suffix != SUFFIX[kind]:
        raise InputError(f"{out}: --format {kind} is written to NAME{SUFFIX[kind]}; name it so")
    if kind == "onnx" and (missing := [x for x in NEEDED if not importlib.util.find_spec(x)]):
        raise InputError(
            f"{out}: ONNX needs {', '.join(missing)}, not installed; pip install 'gradreg[export]'"
        )
    net, _ = load_checkpoint(checkpoint)
    if len(net.config.signatures) == 1:
        raise InputError(f"{checkpoint}: its one signature can't be exported; give it two or more")
    about = describe(net, digest_of(checkpoint or SHIPPED), size)
    program = trace(net, about)
    with atomic_path(out) as temporary:
        if kind == "onnx":
            _save_onnx(program, about, temporary)
        else:
            temporary.write_bytes(_pt2(program, about))
        difference = _difference(net, program, about, temporary if kind == "onnx" else None)
        if not difference <= TOLERANCE:
            raise InputError(
                f"{out}: not written, its BVP differs from PyTorch's by {difference:.1g} of the "
                f"deviation, more than {TOLERANCE:g}; use the checkpoint itself"
            )
    return Exported(out, about, difference)


def describe(net: FcusNet, digest: str, size: int | None = None) -> About:
    """What the exported network will say of itself; `size` as in `export`."""
    config, side = net.config, size or CROP_SIZE
    if side < config.grid:
        raise InputError(f"--size {side}: this network looks at {config.grid} pixels or more")
    return About(
        format=FORMAT,
        network="fcus",
        fps=config.fps,
        channels=config.spectral_channels,
        size=side,
        crop_to_face=CROP_TO_FACE,
        least_frames=round(max(config.window_s, 1) * config.fps) + 1,
        input=f"clips (batch, frames, {config.spectral_channels}, {side}, {side}) float32, 0..255",
        output="bvp (batch, frames) float32, up at systole, as a share of the light (AC/DC)",
        checkpoint=digest,
        rppg=rppg.__version__,
    )


class Wave(nn.Module):
    """Clips `(B, T, C, S, S)` to the BVP `(B, T)`, under `SymbolicLengths`."""

    def __init__(self, net: FcusNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, clips: Tensor) -> Tensor:
        with SymbolicLengths():
            return self.net.fuse(self.net(clips))


def trace(net: FcusNet, about: About) -> ExportedProgram:
    """The network as a graph, for any batch and every length that `about` allows."""
    shape = (2, 2 * about.least_frames, about.channels, about.size, about.size)
    program = torch.export.export(
        Wave(net).eval(),
        (torch.zeros(shape),),
        dynamic_shapes={"clips": {0: Dim("batch"), 1: Dim("frames", min=about.least_frames)}},
        strict=False,
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    program.example_inputs = None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def _pt2(program: ExportedProgram, about: About) -> bytes:
    archive = io.BytesIO()  # by a path, the archive would name its folder after it
    extra = {"rppg.json": json.dumps(asdict(about))}
    torch.export.save(program, archive, extra_files=extra)
    return archive.getvalue()


def _save_onnx(program: ExportedProgram, about: About, path: Path) -> None:
    from onnxscript import ir

    with _quiet():
        found = torch.onnx.export(
            program.run_decompositions(dict(DECOMPOSITIONS)),
            input_names=["clips"],
            output_names=["bvp"],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert found is not None
    graph = found.model.graph
    graph.inputs[0].shape = ir.Shape(["batch", "frames", about.channels, about.size, about.size])
    graph.outputs[0].shape = ir.Shape(["batch", "frames"])
    for node in graph.all_nodes():
        node.metadata_props.clear()  # paths of this machine
    found.model.metadata_props["rppg"] = json.dumps(asdict(about))
    found.save(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on libraries that it could also use."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _difference(net: FcusNet, program: ExportedProgram, about: About, onnx: Path | None) -> float:
    """Largest difference of the BVP from PyTorch's against its deviation, on two short clips."""
    worst = 0.0
    for batch, frames in ((1, about.least_frames), (2, 2 * about.least_frames)):
        clips = _scene(about, batch, frames)
        with torch.no_grad():
            expected = Wave(net)(clips)
            if onnx is None:
                found = program.module()(clips)
            else:
                found = torch.from_numpy(run_onnx(onnx, clips.numpy()))
        worst = max(worst, float((found - expected).abs().max() / expected.std()))
    return worst


def run_onnx(path: Path, clips: NDArray[np.float32]) -> NDArray[np.float32]:
    """What onnxruntime makes of clips."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (bvp,) = session.run(["bvp"], {"clips": clips})
    return np.asarray(bvp)


def _scene(about: About, batch: int, frames: int) -> Tensor:
    """Clips of a picture with a pulse of 72 bpm in its middle, a flickering lamp and noise."""
    random = np.random.default_rng(0)
    side, channels = about.size, about.channels
    times_s = np.arange(frames) / about.fps
    away = np.abs(np.arange(side) / (side - 1) - 0.5)
    face = np.exp(-8 * (away[:, None] ** 2 + away[None, :] ** 2))
    picture = 60 + 120 * face * random.uniform(0.8, 1, (batch, 1, channels, side, side))
    strength = 0.005 * np.linspace(0.4, 1, channels)[:, None, None]
    pulse = np.sin(2 * np.pi * 1.2 * times_s)[:, None, None, None] * strength * face
    lamp = 0.01 * np.sin(2 * np.pi * 0.8 * times_s)[:, None, None, None]
    clips = picture * (1 - pulse) * (1 + lamp)
    clips += random.normal(0, 1, clips.shape)
    return torch.from_numpy(clips.astype(np.float32))
