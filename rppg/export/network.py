"""Export of a trained network to ONNX or PyTorch's `.pt2`.

`torch.export` traces the network for any batch size and any number of frames from
`Metadata.least_frames` on; see `rppg.export.operators`. The file is written only if its output
equals PyTorch's.
"""

import importlib.util
import io
import json
import logging
import warnings
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
"""Version of `Metadata`."""

Kind = Literal["onnx", "torch"]
SUFFIX: Mapping[Kind, str] = {"onnx": ".onnx", "torch": ".pt2"}
REQUIREMENTS = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
TOLERANCE = 1e-3
"""Largest accepted difference from PyTorch, relative to the BVP's standard deviation. Rounding
causes 1e-5, in ill-conditioned networks 1e-4; a wrong operation causes 0.1."""


@dataclass(frozen=True)
class Metadata:
    """The description in an exported file, as JSON: metadata `rppg` of ONNX, `rppg.json` of `.pt2`.

    Attributes:
        format: version of the metadata.
        network: name of the network: fcus.
        fps: frame rate in Hz.
        channels: number of spectral channels, red first.
        size: side of a crop in pixels.
        crop_to_face: side of a crop in units of the face box's side, forehead to chin.
        least_frames: minimum length of a clip in frames.
        input: name, shape and units of the input.
        output: name, shape and units of the output.
        checkpoint: SHA-256 of the weights' file.
        rppg: version of this package.
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
class ExportedNetwork:
    """An exported file.

    Attributes:
        path: the file.
        metadata: its description.
        difference: its largest difference from PyTorch, relative to the BVP's standard deviation.
    """

    path: Path
    metadata: Metadata
    difference: float

    @property
    def about(self) -> Metadata:
        """The old name of `metadata`."""
        warnings.warn(
            "ExportedNetwork.about is now metadata; the old name goes in the next version",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.metadata


def export(
    checkpoint: Path | None, out: Path, kind: Kind = "onnx", size: int | None = None
) -> ExportedNetwork:
    """Write the network of a checkpoint as a file, after comparing its output with PyTorch's.

    Args:
        checkpoint: a checkpoint of FCUS-rPPG; None for the one that ships with the package.
        out: the file, `.onnx` or `.pt2` according to `kind`.
        kind: the format.
        size: side of the crops in pixels; None for the size of this package's crops.

    Raises:
        InputError: a library is missing, a name or size does not fit, the checkpoint can't be
            loaded, or the file's output differs from PyTorch's.
    """
    if out.suffix != SUFFIX[kind]:
        raise InputError(f"{out}: --format {kind} writes NAME{SUFFIX[kind]}; give such a name")
    if kind == "onnx" and (missing := [x for x in REQUIREMENTS if not importlib.util.find_spec(x)]):
        raise InputError(
            f"{out}: ONNX needs {', '.join(missing)}, not installed; pip install 'gradreg[export]'"
        )
    net, _ = load_checkpoint(checkpoint)
    if len(net.config.signatures) == 1:
        raise InputError(f"{checkpoint}: its one signature can't be exported; give it two or more")
    metadata = describe(net, digest_of(checkpoint or SHIPPED), size)
    program = trace(net, metadata)
    with atomic_path(out) as temporary:
        if kind == "onnx":
            save_onnx(program, metadata, temporary)
        else:
            temporary.write_bytes(_pt2(program, metadata))
        onnx = temporary if kind == "onnx" else None
        difference = _largest_difference(net, program, metadata, onnx)
        if not difference <= TOLERANCE:
            raise InputError(
                f"{out}: not written, its BVP differs from PyTorch's by {difference:.1g} of the "
                f"deviation, more than {TOLERANCE:g}; use the checkpoint itself"
            )
    return ExportedNetwork(out, metadata, difference)


def describe(net: FcusNet, digest: str, size: int | None = None) -> Metadata:
    """Return the metadata of a network; `size` as in `export`."""
    config, side = net.config, size or CROP_SIZE
    if side < config.grid:
        raise InputError(f"--size {side}: this network needs {config.grid} pixels or more")
    return Metadata(
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


class WaveModule(nn.Module):
    """A module from clips `(B, T, C, S, S)` to the BVP `(B, T)`, under `SymbolicLengths`."""

    def __init__(self, net: FcusNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, clips: Tensor) -> Tensor:
        with SymbolicLengths():
            return self.net.wave(self.net(clips))


@torch.no_grad()
def trace(net: FcusNet, metadata: Metadata) -> ExportedProgram:
    """Trace the network as a graph for any batch size and every length that `metadata` allows.

    Gradients are off throughout: a part of the network that turns them off becomes a subgraph, and
    `.pt2` can't load a subgraph whose result is unused.
    """
    shape = (2, 2 * metadata.least_frames, metadata.channels, metadata.size, metadata.size)
    program = torch.export.export(
        WaveModule(net).eval(),
        (torch.zeros(shape),),
        dynamic_shapes={"clips": {0: Dim("batch"), 1: Dim("frames", min=metadata.least_frames)}},
        strict=False,
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    program.example_inputs = None
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


def _pt2(program: ExportedProgram, metadata: Metadata) -> bytes:
    archive = io.BytesIO()  # given a path, the archive would contain its name
    extra = {"rppg.json": json.dumps(asdict(metadata))}
    torch.export.save(program, archive, extra_files=extra)
    return archive.getvalue()


def save_onnx(program: ExportedProgram, metadata: Metadata, path: Path) -> None:
    """Write a traced network as ONNX."""
    from onnxscript import ir, optimizer

    with _errors_only():
        exported = torch.onnx.export(
            program.run_decompositions(dict(DECOMPOSITIONS)),
            input_names=["clips"],
            output_names=["bvp"],
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            optimize=False,  # it would take "+ 1e-8" for "+ 0"
        )
    assert exported is not None
    optimizer.fold_constants(exported.model)
    optimizer.remove_unused_nodes(exported.model)
    graph = exported.model.graph
    graph.inputs[0].shape = ir.Shape(
        ["batch", "frames", metadata.channels, metadata.size, metadata.size]
    )
    graph.outputs[0].shape = ir.Shape(["batch", "frames"])
    for node in graph.all_nodes():
        node.metadata_props.clear()  # paths of this machine
    exported.model.metadata_props["rppg"] = json.dumps(asdict(metadata))
    exported.save(path)


@contextmanager
def _errors_only() -> Iterator[None]:
    """Suppress the exporter's warnings about optional libraries."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _largest_difference(
    net: FcusNet, program: ExportedProgram, metadata: Metadata, onnx: Path | None
) -> float:
    """Return the largest difference from PyTorch, relative to the BVP's deviation, on two clips."""
    worst = 0.0
    for batch, frames in ((1, metadata.least_frames), (2, 2 * metadata.least_frames)):
        clips = _render_clips(metadata, batch, frames)
        with torch.no_grad():
            expected = WaveModule(net)(clips)
            if onnx is None:
                bvp = program.module()(clips)
            else:
                bvp = torch.from_numpy(run_onnx(onnx, clips.numpy()))
        worst = max(worst, float((bvp - expected).abs().max() / expected.std()))
    return worst


def run_onnx(path: Path, clips: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply an exported network to clips `(B, T, C, S, S)` with onnxruntime: the BVP `(B, T)`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (bvp,) = session.run(["bvp"], {"clips": clips})
    return np.asarray(bvp)


def _render_clips(metadata: Metadata, batch: int, frames: int) -> Tensor:
    """Return clips of an image with a pulse of 72 bpm in the middle, flickering light and noise."""
    random = np.random.default_rng(0)
    side, channels = metadata.size, metadata.channels
    times_s = np.arange(frames) / metadata.fps
    offset = np.abs(np.arange(side) / (side - 1) - 0.5)
    face = np.exp(-8 * (offset[:, None] ** 2 + offset[None, :] ** 2))
    image = 60 + 120 * face * random.uniform(0.8, 1, (batch, 1, channels, side, side))
    strength = 0.005 * np.linspace(0.4, 1, channels)[:, None, None]
    pulse = np.sin(2 * np.pi * 1.2 * times_s)[:, None, None, None] * strength * face
    lamp = 0.01 * np.sin(2 * np.pi * 0.8 * times_s)[:, None, None, None]
    clips = image * (1 - pulse) * (1 + lamp)
    clips += random.normal(0, 1, clips.shape)
    return torch.from_numpy(clips.astype(np.float32))
