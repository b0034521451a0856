"""A recording read piece by piece gives what it gives as a whole, to the bit."""

import numpy as np
import pytest

from rppg.estimators.fcus import untrained
from rppg.estimators.streaming import OVERLAP_S, PART_S, estimate
from rppg.evaluation import classical
from rppg.types import FaceCrops
from rppg.video import read_crops, write_video
from rppg.video.crop import crop_pieces

FPS = 30.0


def recording(seconds: float) -> FaceCrops:
    """Noise on an uneven clock of some 20 Hz."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.03, 0.07, int(seconds * 20)))
    frames = rng.integers(50, 200, (len(times), 6, 6, 3), dtype=np.uint8)
    return FaceCrops(frames, times - times[0], rng.random(len(times)) > 0.1)


def pieces(crops: FaceCrops, counts: list[int]):
    edges = np.cumsum([0, *counts])
    for start, end in zip(edges, [*edges[1:-1], len(crops.frames)], strict=False):
        part = slice(start, end)
        yield FaceCrops(crops.frames[part], crops.times_s[part], crops.valid[part])


@pytest.mark.parametrize("seconds", [20, 79, 81, 200])
@pytest.mark.parametrize("each_s", [1, 7, 70])
def test_the_length_of_the_pieces_does_not_matter(seconds: float, each_s: float) -> None:
    crops = recording(seconds)
    count = round(20 * each_s)
    many = [count] * max(1, len(crops.frames) // count)
    spans = []

    def pos(frames, fps):
        spans.append(len(frames))
        return classical("pos")(frames, fps)

    whole = estimate(iter([crops]), pos, FPS)
    lengths, spans = spans, []
    found = estimate(pieces(crops, many), pos, FPS)
    assert spans == lengths and max(lengths) < (PART_S + 2 * OVERLAP_S) * FPS
    for name in ("times_s", "valid", "grid_s", "bvp"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


def test_traces_are_cross_faded_like_the_wave() -> None:
    """In pieces or as a whole they are the same, and beside a method those of the network alone."""
    crops = recording(81)
    network = untrained()
    whole = estimate(iter([crops]), network, FPS)
    found = estimate(pieces(crops, [140] * 11), classical("pos"), FPS, network)
    assert whole.traces is not None and found.traces is not None
    assert whole.traces.rows.shape[1] == len(whole.bvp) == len(whole.grid_s)
    np.testing.assert_array_equal(found.traces.rows[1:], whole.traces.rows[1:])
    np.testing.assert_allclose(found.traces.second, whole.bvp, atol=1e-6)
    np.testing.assert_allclose(whole.traces.second, found.bvp, atol=1e-6)
    np.testing.assert_allclose(whole.traces.attention.sum(0), 1, rtol=1e-4)
    alone = estimate(iter([crops]), classical("pos"), FPS)
    assert alone.traces is None
    np.testing.assert_array_equal(alone.bvp, found.bvp)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Twelve seconds of noise at an uneven rate, with a hole of a second in it."""
    path = tmp_path_factory.mktemp("film") / "film.mkv"
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.05, 0.15, 120)) + 1.0 * (np.arange(120) >= 50)
    frames = rng.integers(0, 256, (120, 24, 32, 3), dtype=np.uint8)
    write_video(path, frames, times_s=times, codec="ffv1")
    return path


@pytest.mark.parametrize("piece_s", [0.01, 1.0, 5.0, 60.0])
def test_pieces_of_a_video_join_to_the_whole(film, piece_s):
    whole = read_crops(film, size=8, full_frame=True)
    parts = list(crop_pieces(film, size=8, full_frame=True, piece_s=piece_s))
    assert len(parts) > 1 or piece_s == 60
    np.testing.assert_array_equal(np.flatnonzero(~whole.valid), [49, 50])  # beside the hole
    for name in ("frames", "times_s", "valid", "boxes"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name))


def test_pieces_come_long_before_the_end(film):
    parts = crop_pieces(film, size=8, full_frame=True, piece_s=1.0)
    first = next(parts)
    assert first.times_s[-1] < 1.3
    parts.close()
