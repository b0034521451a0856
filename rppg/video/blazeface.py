"""BlazeFace short-range in plain torch: faces with six keypoints, some 3 ms a picture on one core.

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019,
arXiv:1907.05047. The weights are MediaPipe's, see `weights/NOTICE.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from rppg.video.resize import Box
from rppg.video.threads import one_thread

SIDE = 128  # of the network's input
STRIDE_2 = (3, 6, 12)  # blocks that halve the picture
THRESHOLD = 0.75
OVERLAP = 0.3
TILES = (480, 240)
DARK = 80
BATCH = 8

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Face:
    """A face in a picture; pixel `j` covers `[j, j + 1)`.

    Attributes:
        box: x, y, width, height in pixels, from the brows to the chin.
        score: 0 to 1.
        keypoints: `(6, 2)` x, y in pixels: right eye, left eye, nose, mouth, right ear, left ear
            (right and left are the person's).
    """

    box: Box
    score: float
    keypoints: Array


@dataclass(frozen=True)
class View:
    """A square of a picture to look for faces in: corner and side in pixels, which may reach
    beyond the picture (black there), turned counter-clockwise by `turns` × 90°."""

    x: int
    y: int
    side: int
    turns: int = 0


def detect(
    frames: Sequence[Picture] | Picture, *, threshold: float = THRESHOLD
) -> list[list[Face]]:
    """All faces of each picture, the best score first.

    The network sees the picture at 128 × 128, where a face has to be a fifth of the side or so.
    Where it finds nothing, square tiles of 480 and then 240 pixels are tried, then the picture
    turned by 90° either way. Dark pictures are brightened.

    Args:
        frames: pictures `(H, W, 3)` uint8 RGB, of any sizes.
        threshold: least score of a face.
    """
    return [_search(frame, threshold) for frame in frames]


def look(
    frames: Sequence[Picture], views: Sequence[View], *, threshold: float = THRESHOLD
) -> list[list[Face]]:
    """Faces in one given view of each picture: one pass of the network, nothing else tried."""
    found: list[list[Face]] = []
    with torch.inference_mode(), one_thread():
        for start in range(0, len(frames), BATCH):
            part = slice(start, start + BATCH)
            seen = [_see(f, v) for f, v in zip(frames[part], views[part], strict=True)]
            logits, raw = _forward(torch.stack(seen))
            scores = torch.sigmoid(logits.clamp(-100, 100)).double().numpy()
            points = (raw.double().view(len(seen), -1, 8, 2) / SIDE).numpy()
            for view, score, point in zip(views[part], scores, points, strict=True):
                found.append(_faces(score, point, view, threshold))
    return found


def whole(frame: Picture) -> View:
    """The square around a whole picture."""
    height, width = frame.shape[:2]
    side = max(height, width)
    return View((width - side) // 2, (height - side) // 2, side)


def _search(frame: Picture, threshold: float) -> list[Face]:
    full = whole(frame)
    turned = [View(full.x, full.y, full.side, turns) for turns in (1, 3)]
    for views in ([full], *(_tiles(frame, side) for side in TILES), turned):
        found = look([frame] * len(views), views, threshold=threshold)
        if faces := [face for faces in found for face in faces]:
            return _merge(faces)
    return []


def _tiles(frame: Picture, side: int) -> list[View]:
    """Squares that cover the picture, half overlapping."""
    height, width = frame.shape[:2]
    if side >= max(height, width):
        return []

    def starts(length: int) -> list[int]:
        spare = length - side
        if spare <= 0:
            return [spare // 2]
        steps = -(-2 * spare // side)
        return [round(spare * step / steps) for step in range(steps + 1)]

    return [View(x, y, side) for y in starts(height) for x in starts(width)]


def _see(frame: Picture, view: View) -> Tensor:
    """The network's input `(3, 128, 128)` in [−1, 1], dark views brightened."""
    height, width = frame.shape[:2]
    top, left = max(view.y, 0), max(view.x, 0)
    part = frame[top : min(view.y + view.side, height), left : min(view.x + view.side, width)]
    square = np.zeros((view.side, view.side, 3), dtype=np.uint8)
    if part.size:
        bright = float(np.percentile(part[::8, ::8], 95))
        if 0 < bright < DARK:
            gain = np.float32(min(2 * DARK / bright, 16.0))
            part = np.minimum(part * gain, 255).astype(np.uint8)
        y, x = top - view.y, left - view.x
        square[y : y + part.shape[0], x : x + part.shape[1]] = part
    seen = torch.from_numpy(square).permute(2, 0, 1)[None]
    seen = F.interpolate(seen, (SIDE, SIDE), mode="bilinear", antialias=True)
    return torch.rot90(seen[0].float() / 127.5 - 1, view.turns, (1, 2))


def _faces(scores: Array, numbers: Array, view: View, threshold: float) -> list[Face]:
    """Scores `(896,)` and numbers `(896, 8, 2)` of one view → its faces in the picture's pixels.

    Of the eight pairs the first is the box's centre and the second its size.
    """
    likely = (scores >= threshold) & (numbers[:, 1] > 0).all(axis=1)
    sizes = numbers[likely, 1] * view.side
    places = np.delete(numbers[likely], 1, axis=1) + _anchors()[likely, None]
    x, y = places[..., 0], places[..., 1]
    upright = ((x, y), (1 - y, x), (1 - x, 1 - y), (y, 1 - x))[view.turns % 4]
    if view.turns % 2:
        sizes = sizes[:, ::-1]
    places = np.stack(upright, axis=-1) * view.side + (view.x, view.y)
    corners = places[:, 0] - sizes / 2
    return _merge(
        [
            Face((float(x), float(y), float(w), float(h)), float(score), points)
            for (x, y), (w, h), score, points in zip(
                corners, sizes, scores[likely], places[:, 1:], strict=True
            )
        ]
    )


def _merge(faces: list[Face]) -> list[Face]:
    """One face from each group that overlaps its best: averages weighted by score."""
    left = sorted(faces, key=lambda face: -face.score)
    merged = []
    while left:
        near = np.array([overlap(left[0].box, face.box) > OVERLAP for face in left])
        near[0] = True
        group = [face for face, n in zip(left, near, strict=True) if n]
        weights = np.array([face.score for face in group])
        weights /= weights.sum()
        x, y, w, h = (float(v) for v in weights @ np.array([face.box for face in group]))
        keypoints = np.tensordot(weights, np.stack([face.keypoints for face in group]), 1)
        merged.append(Face((x, y, w, h), group[0].score, keypoints))
        left = [face for face, n in zip(left, near, strict=True) if not n]
    return merged


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes x, y, width, height."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(wide, 0.0) * max(high, 0.0)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


@cache
def _anchors() -> Array:
    """Centres `(896, 2)` in units of the view: 2 a cell of 16 × 16, then 6 a cell of 8 × 8."""
    rows = []
    for cells, each in ((16, 2), (8, 6)):
        y, x = np.mgrid[:cells, :cells]
        rows.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2) + 0.5, each, axis=0) / cells)
    return np.concatenate(rows)


@cache
def _weights() -> dict[str, Tensor]:
    path = Path(__file__).parent / "weights" / "blazeface_short_range.safetensors"
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def _forward(x: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures `(B, 3, 128, 128)` in [−1, 1] → logits `(B, 896)` and numbers `(B, 896, 16)`."""
    w = _weights()

    def conv(x: Tensor, name: str, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
        return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, padding, groups=groups)

    def point(x: Tensor, name: str) -> Tensor:
        """A 1 × 1 convolution as a matrix product, channels last: a third faster, bit for bit."""
        return F.linear(x.permute(0, 2, 3, 1), w[f"{name}.weight"].flatten(1), w[f"{name}.bias"])

    x = x.contiguous(memory_format=torch.channels_last)  # twice as fast
    x = conv(F.pad(x, (1, 2, 1, 2)), "stem", stride=2).relu_()
    middle = x
    for block in range(1, 17):
        residual = x
        if block in STRIDE_2:
            residual = F.max_pool2d(x, 2)
            x = conv(F.pad(x, (0, 1, 0, 1)), f"dw.{block - 1}", stride=2, groups=x.shape[1])
        else:
            x = conv(x, f"dw.{block - 1}", padding=1, groups=x.shape[1])
        out = point(x, f"pw.{block - 1}")
        out[..., : residual.shape[1]] += residual.permute(0, 2, 3, 1)
        x = out.relu_().permute(0, 3, 1, 2)
        if block == 11:
            middle = x

    def head(x: Tensor, name: str, numbers: int) -> Tensor:
        return point(x, name).reshape(len(x), -1, numbers)

    logits = torch.cat([head(middle, "c8", 1), head(x, "c16", 1)], dim=1)[..., 0]
    return logits, torch.cat([head(middle, "r8", 16), head(x, "r16", 16)], dim=1)
