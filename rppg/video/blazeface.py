"""BlazeFace short-range in plain torch: faces with six keypoints, about 3 ms per image on one core.

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

SIDE = 128
"""Side of the network's input in pixels."""
STRIDE_2 = (3, 6, 12)
"""Blocks that halve the resolution."""
THRESHOLD = 0.75
OVERLAP = 0.3
"""Detections that overlap by more are merged."""
TILES = (480, 240)
"""Sides in pixels of the tiles that are searched."""
DARK = 80
"""Squares whose bright pixels are darker than this are brightened."""
BATCH = 8

Array = NDArray[np.float64]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Face:
    """A detected face. Pixel `j` of the image covers `[j, j + 1)`.

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
class SearchSquare:
    """A square of an image in which faces are searched.

    Attributes:
        x, y, side: corner and side in pixels. Beyond the image the square is black.
        turns: rotation counter-clockwise before the search, in units of 90°.
    """

    x: int
    y: int
    side: int
    turns: int = 0


def detect(frames: Sequence[Image] | Image, *, threshold: float = THRESHOLD) -> list[list[Face]]:
    """Detect all faces of each image, sorted by descending score.

    The network's input is the image at 128 × 128, where a face must cover about a fifth of the
    side. If it finds none, square tiles of 480 and then 240 pixels are searched, then the image
    rotated by 90° either way. Dark images are brightened.

    Args:
        frames: images `(H, W, 3)` uint8 RGB of any sizes.
        threshold: minimum score of a face.
    """
    return [_search(frame, threshold) for frame in frames]


def detect_in(
    frames: Sequence[Image], squares: Sequence[SearchSquare], *, threshold: float = THRESHOLD
) -> list[list[Face]]:
    """Detect the faces in one given square of each image, with a single pass of the network."""
    detected: list[list[Face]] = []
    with torch.inference_mode(), one_thread():
        for start in range(0, len(frames), BATCH):
            part = slice(start, start + BATCH)
            inputs = [
                _network_input(f, s) for f, s in zip(frames[part], squares[part], strict=True)
            ]
            logits, raw = _forward(torch.stack(inputs))
            scores = torch.sigmoid(logits.clamp(-100, 100)).double().numpy()
            points = (raw.double().view(len(inputs), -1, 8, 2) / SIDE).numpy()
            for square, score, point in zip(squares[part], scores, points, strict=True):
                detected.append(_decode_faces(score, point, square, threshold))
    return detected


def whole_image(frame: Image) -> SearchSquare:
    """Return the smallest square that contains the whole image."""
    height, width = frame.shape[:2]
    side = max(height, width)
    return SearchSquare((width - side) // 2, (height - side) // 2, side)


def _search(frame: Image, threshold: float) -> list[Face]:
    full = whole_image(frame)
    turned = [SearchSquare(full.x, full.y, full.side, turns) for turns in (1, 3)]
    for squares in ([full], *(_tiles(frame, side) for side in TILES), turned):
        per_square = detect_in([frame] * len(squares), squares, threshold=threshold)
        if faces := [face for faces in per_square for face in faces]:
            return _merge(faces)
    return []


def _tiles(frame: Image, side: int) -> list[SearchSquare]:
    """Return squares that cover the image and overlap by half."""
    height, width = frame.shape[:2]
    if side >= max(height, width):
        return []

    def starts(length: int) -> list[int]:
        excess = length - side
        if excess <= 0:
            return [excess // 2]
        steps = -(-2 * excess // side)
        return [round(excess * step / steps) for step in range(steps + 1)]

    return [SearchSquare(x, y, side) for y in starts(height) for x in starts(width)]


def _network_input(frame: Image, square: SearchSquare) -> Tensor:
    """Return the network's input `(3, 128, 128)` in [−1, 1], brightened if it is dark."""
    height, width = frame.shape[:2]
    top, left = max(square.y, 0), max(square.x, 0)
    bottom, right = min(square.y + square.side, height), min(square.x + square.side, width)
    part = frame[top:bottom, left:right]
    padded = np.zeros((square.side, square.side, 3), dtype=np.uint8)
    if part.size:
        bright = float(np.percentile(part[::8, ::8], 95))
        if 0 < bright < DARK:
            gain = np.float32(min(2 * DARK / bright, 16.0))
            part = np.minimum(part * gain, 255).astype(np.uint8)
        y, x = top - square.y, left - square.x
        padded[y : y + part.shape[0], x : x + part.shape[1]] = part
    pixels = torch.from_numpy(padded).permute(2, 0, 1)[None]
    pixels = F.interpolate(pixels, (SIDE, SIDE), mode="bilinear", antialias=True)
    return torch.rot90(pixels[0].float() / 127.5 - 1, square.turns, (1, 2))


def _decode_faces(
    scores: Array, numbers: Array, square: SearchSquare, threshold: float
) -> list[Face]:
    """Convert the network's scores `(896,)` and numbers `(896, 8, 2)` to faces in image pixels.

    The first of the eight pairs is the box's centre, the second its size, the others keypoints.
    """
    likely = (scores >= threshold) & (numbers[:, 1] > 0).all(axis=1)
    sizes = numbers[likely, 1] * square.side
    points = np.delete(numbers[likely], 1, axis=1) + _anchors()[likely, None]
    x, y = points[..., 0], points[..., 1]
    upright = ((x, y), (1 - y, x), (1 - x, 1 - y), (y, 1 - x))[square.turns % 4]
    if square.turns % 2:
        sizes = sizes[:, ::-1]
    points = np.stack(upright, axis=-1) * square.side + (square.x, square.y)
    corners = points[:, 0] - sizes / 2
    return _merge(
        [
            Face((float(x), float(y), float(w), float(h)), float(score), keypoints)
            for (x, y), (w, h), score, keypoints in zip(
                corners, sizes, scores[likely], points[:, 1:], strict=True
            )
        ]
    )


def _merge(faces: list[Face]) -> list[Face]:
    """Merge the faces that overlap a better one, with averages weighted by score."""
    remaining = sorted(faces, key=lambda face: -face.score)
    merged = []
    while remaining:
        best = remaining[0]
        close = np.array([overlap(best.box, face.box) > OVERLAP for face in remaining])
        close[0] = True
        group = [face for face, is_close in zip(remaining, close, strict=True) if is_close]
        weights = np.array([face.score for face in group])
        weights /= weights.sum()
        x, y, w, h = (float(v) for v in weights @ np.array([face.box for face in group]))
        keypoints = np.tensordot(weights, np.stack([face.keypoints for face in group]), 1)
        merged.append(Face((x, y, w, h), group[0].score, keypoints))
        remaining = [face for face, is_close in zip(remaining, close, strict=True) if not is_close]
    return merged


def overlap(a: Box, b: Box) -> float:
    """Return the intersection over union of two boxes x, y, width, height."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    intersection = max(width, 0.0) * max(height, 0.0)
    return intersection / (a[2] * a[3] + b[2] * b[3] - intersection)


@cache
def _anchors() -> Array:
    """Return the anchors' centres `(896, 2)` in units of the square's side.

    Two for each cell of a 16 × 16 grid, then six for each cell of an 8 × 8 grid.
    """
    rows = []
    for cells, repeats in ((16, 2), (8, 6)):
        y, x = np.mgrid[:cells, :cells]
        rows.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2) + 0.5, repeats, axis=0) / cells)
    return np.concatenate(rows)


@cache
def _weights() -> dict[str, Tensor]:
    path = Path(__file__).parent / "weights" / "blazeface_short_range.safetensors"
    return {name: tensor.float() for name, tensor in load_file(path).items()}


def _forward(x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute logits `(B, 896)` and numbers `(B, 896, 16)` of images `(B, 3, 128, 128)`."""
    w = _weights()

    def conv(x: Tensor, name: str, stride: int = 1, padding: int = 0, groups: int = 1) -> Tensor:
        return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, padding, groups=groups)

    def point(x: Tensor, name: str) -> Tensor:
        """Compute a 1 × 1 convolution as a matrix product: a third faster, with equal bits."""
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
