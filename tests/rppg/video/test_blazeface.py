"""Faces are found dim, noisy, tilted, turned and small; textures are not faces."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from skimage.transform import rescale, rotate

from rppg.video.blazeface import (
    Face,
    SearchSquare,
    _forward,
    _network_input,
    _weights,
    detect,
    detect_in,
    overlap,
)

FACE = (107.0, 80.0, 95.0, 95.0)  # of `portrait`
EYES_MOUTH = [(133.0, 101.0), (177.0, 108.0), (149.0, 146.0)]  # right, left (the person's), mouth


def as_bytes(image):
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def the_face(image) -> Face:
    (faces,) = detect([image])
    assert len(faces) == 1
    return faces[0]


def test_the_portrait(portrait):
    face = the_face(portrait)
    assert overlap(face.box, FACE) > 0.85 and face.score > 0.85
    np.testing.assert_allclose(face.keypoints[[0, 1, 3]], EYES_MOUTH, atol=5)


def test_network_shapes():
    logits, numbers = _forward(torch.zeros(2, 3, 128, 128))
    assert logits.shape == (2, 896) and numbers.shape == (2, 896, 16)


def test_the_network_is_the_published_one(portrait):
    """Plain convolutions, channels first, as in the paper: blocks of depthwise and pointwise."""
    w = _weights()
    views = [SearchSquare(0, 0, 320), SearchSquare(40, 20, 240)]
    images = torch.stack([_network_input(portrait, view) for view in views])
    x = F.relu(F.conv2d(F.pad(images, (1, 2, 1, 2)), w["stem.weight"], w["stem.bias"], 2))
    grids = []
    for n in range(16):
        halve = n + 1 in (3, 6, 12)
        padded = F.pad(x, (0, 1, 0, 1) if halve else (1, 1, 1, 1))
        y = F.conv2d(padded, w[f"dw.{n}.weight"], w[f"dw.{n}.bias"], 1 + halve, groups=x.shape[1])
        y = F.conv2d(y, w[f"pw.{n}.weight"], w[f"pw.{n}.bias"])
        short = F.max_pool2d(x, 2) if halve else x
        x = F.relu(y + F.pad(short, (0, 0, 0, 0, 0, y.shape[1] - short.shape[1])))
        grids += [x] if n in (10, 15) else []
    for kind, found in zip(("c", "r"), _forward(images), strict=True):
        heads = [
            F.conv2d(grid, w[f"{kind}{name}.weight"], w[f"{kind}{name}.bias"])
            for grid, name in zip(grids, (8, 16), strict=True)
        ]
        expected = torch.cat([h.permute(0, 2, 3, 1).flatten(1) for h in heads], 1)
        torch.testing.assert_close(found.flatten(1), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("angle", [-40, -20, 20, 40])
def test_tilted(portrait, angle):
    tilted = as_bytes(255 * rotate(portrait, angle, center=(154, 128)))
    assert overlap(the_face(tilted).box, FACE) > 0.6


@pytest.mark.parametrize("gain", [0.5, 0.1, 0.04])
def test_dim(portrait, gain):
    assert overlap(the_face(as_bytes(gain * portrait)).box, FACE) > 0.8


@pytest.mark.parametrize("noise", [10, 40])
def test_noisy(portrait, noise):
    rng = np.random.default_rng(0)
    noisy = as_bytes(portrait + noise * rng.standard_normal(portrait.shape))
    assert overlap(the_face(noisy).box, FACE) > 0.8


def test_dim_and_noisy(portrait):
    rng = np.random.default_rng(0)
    noisy = as_bytes(0.1 * portrait + 3 * rng.standard_normal(portrait.shape))
    assert overlap(the_face(noisy).box, FACE) > 0.8


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned(portrait, turns):
    face = the_face(np.ascontiguousarray(np.rot90(portrait, turns)))
    x, y = FACE[0] + FACE[2] / 2 - 160, FACE[1] + FACE[3] / 2 - 160
    for _ in range(turns):
        x, y = y, -x
    centre = np.array([face.box[0] + face.box[2] / 2, face.box[1] + face.box[3] / 2]) - 160
    assert np.abs(centre - (x, y)).max() < 12
    eyes, mouth = face.keypoints[:2].mean(axis=0), face.keypoints[3]
    up = {1: (-1, 0), 2: (0, 1), 3: (1, 0)}[turns]
    assert (eyes - mouth) @ up > 0.3 * face.box[2]


@pytest.mark.parametrize("scale", [0.5, 0.7])
def test_small(portrait, scale):
    """48 pixels of 640: in the whole image the network sees ten."""
    small = as_bytes(255 * rescale(portrait, scale, channel_axis=2, anti_aliasing=True))
    wide = np.full((480, 640, 3), 90, dtype=np.uint8)
    wide[150 : 150 + len(small), 330 : 330 + len(small)] = small
    found = the_face(wide)
    where = tuple(scale * v for v in FACE)
    assert overlap(found.box, (where[0] + 330, where[1] + 150, *where[2:])) > 0.7


def test_two_faces_best_first(portrait):
    both = np.concatenate([portrait[:, 40:280], portrait[:, 279:39:-1]], axis=1)
    (faces,) = detect([both])
    assert len(faces) == 2 and faces[0].score >= faces[1].score
    centres = sorted(face.box[0] + face.box[2] / 2 for face in faces)
    np.testing.assert_allclose(centres, [114.5, 480 - 114.5], atol=8)


def test_many_pictures_of_different_sizes(portrait):
    found = detect([portrait, np.zeros((90, 120, 3), np.uint8), portrait[30:290, 20:300]])
    assert [len(faces) for faces in found] == [1, 0, 1]
    shifted = found[2][0].box
    assert overlap((shifted[0] + 20, shifted[1] + 30, *shifted[2:]), FACE) > 0.8
    assert detect([]) == []


def test_threads_are_left_as_they_were(portrait):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        detect([portrait])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def textures():
    rng = np.random.default_rng(0)
    yield "brick", np.stack([data.brick()] * 3, -1)
    yield "grass", np.stack([data.grass()] * 3, -1)
    yield "gravel", np.stack([data.gravel()] * 3, -1)
    yield "cat", data.chelsea()
    yield "coffee", data.coffee()
    yield "noise", rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    coarse = rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)
    yield "blocks", np.repeat(np.repeat(coarse, 24, 0), 24, 1)
    yield "sensor noise", rng.integers(0, 4, (480, 640, 3), dtype=np.uint8)
    yield "black", np.zeros((480, 640, 3), np.uint8)
    yield "white", np.full((480, 640, 3), 255, np.uint8)


TEXTURES = dict(textures())


@pytest.mark.parametrize("name", TEXTURES)
def test_no_face(name):
    assert detect([TEXTURES[name]]) == [[]]


def test_a_view_beyond_the_picture(portrait):
    views = [
        SearchSquare(60, 30, 200),
        SearchSquare(400, 400, 100),
        SearchSquare(-1000, -1000, 500),
    ]
    found = detect_in([portrait] * 3, views)
    assert [len(faces) for faces in found] == [1, 0, 0]
    assert overlap(found[0][0].box, FACE) > 0.8
