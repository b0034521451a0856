"""Clips: cut where there is a face, each seen once, played at a speed."""

import numpy as np
import pytest
import torch

from rppg.errors import InputError
from rppg.models.fcus import ModelConfig
from rppg.train.clips import SPEED, ClipSet, _play, batches, cut_clips, to_patches
from rppg.types import FaceCrops

CONFIG = ModelConfig(grid=12)


def crops_of(seconds: float, fps: float = 30.0, *, lost: tuple[float, float] = (0, 0)) -> FaceCrops:
    times_s = np.arange(int(seconds * fps) + 1) / fps
    frames = np.full((len(times_s), 24, 24, 3), 100, np.uint8)
    frames[:] += (np.arange(len(times_s)) % 50).astype(np.uint8)[:, None, None, None]
    return FaceCrops(frames, times_s, (times_s < lost[0]) | (times_s >= lost[1]))


def test_clips_leave_out_every_span_where_the_face_was_lost() -> None:
    recordings = [crops_of(20), crops_of(20, lost=(7.3, 7.7)), crops_of(20, fps=25, lost=(0, 4))]
    clip_set = cut_clips(recordings, CONFIG, clip_s=4, stride_s=1)
    assert clip_set.frames == 120
    starts = [(n, start) for n, start in clip_set.clips]
    assert starts == [
        *((0, 30 * s) for s in range(17)),  # all of the first
        *((1, 30 * s) for s in range(4)),  # of the second, before 7.3 s
        *((2, 9 + 30 * s) for s in range(9)),  # and from 8 s, 9 frames after 7.7 s
        *((3, 30 * s) for s in range(13)),  # the third from 4 s
    ]
    assert [len(r) for r in clip_set.spans] == [601, 219, 370, 481]
    tail = to_patches(recordings[1], CONFIG)[231:]
    assert torch.equal(clip_set.spans[2], tail)


def test_a_single_lost_frame_is_enough() -> None:
    crops = crops_of(8)
    crops.valid[130] = False
    clips = cut_clips([crops], CONFIG, clip_s=4, stride_s=0.1).clips
    assert clips == [(0, 0), (0, 3), (0, 6), (0, 9)]  # the rest is shorter than a clip


def test_a_clip_played_faster_never_reads_where_the_face_was_lost() -> None:
    crops = crops_of(12)
    crops.valid[150:160] = False
    crops.frames[150:160] = 255
    clip_set = cut_clips([crops], CONFIG, clip_s=4, stride_s=0.5)
    for span, start in clip_set.clips:
        clip = _play(clip_set, span, start, SPEED[1], False)
        assert float(clip.max()) <= 150


def test_data_without_a_whole_clip_is_refused_with_the_mend() -> None:
    for crops in (crops_of(3), crops_of(8, lost=(3, 5))):
        with pytest.raises(InputError, match=r"1 recordings.*no clip of 4 s.*smaller clip_s"):
            cut_clips([crops], CONFIG, clip_s=4, stride_s=1)
    with pytest.raises(InputError, match="no clip"):
        cut_clips([], CONFIG, clip_s=4, stride_s=1)


def test_patches_are_on_the_networks_clock() -> None:
    patches = to_patches(crops_of(5, fps=60), CONFIG)
    assert patches.shape == (151, 3, 12, 12)
    torch.testing.assert_close(patches[:20, 0, 0, 0], 100.0 + 2 * torch.arange(20))


def numbered(count: int) -> ClipSet:
    """Clips whose brightness is their number, in recordings of their own."""
    recordings = [torch.full((50, 3, 12, 12), float(n)) for n in range(count)]
    return ClipSet(recordings, [(n, 0) for n in range(count)], 40)


@pytest.mark.parametrize(("count", "size"), [(1, 4), (4, 4), (5, 4), (7, 4), (9, 4), (13, 6)])
def test_an_epoch_sees_every_clip_once_and_no_clip_is_alone(count: int, size: int) -> None:
    found = list(batches(numbered(count), size, torch.Generator().manual_seed(1)))
    seen = torch.cat([b.clips[:, 0, 0, 0, 0] for b in found])
    assert sorted(seen.tolist()) == list(range(count))
    assert all(b.clips.shape[1:] == (40, 3, 12, 12) for b in found)
    if count > 1:
        assert min(len(b.clips) for b in found) >= 2
    speed = torch.cat([b.speed for b in found])
    assert bool(((speed >= SPEED[0]) & (speed <= SPEED[1])).all())


def test_order_speed_and_mirroring_hang_on_the_generator_alone() -> None:
    clip_set = ClipSet([torch.rand(90, 3, 12, 12)], [(0, s) for s in range(0, 40, 2)], 40)

    def epoch(seed: int) -> torch.Tensor:
        parts = batches(clip_set, 5, torch.Generator().manual_seed(seed))
        return torch.cat([b.clips for b in parts])

    first = epoch(1)
    torch.manual_seed(9)
    assert torch.equal(epoch(1), first)
    assert not torch.equal(epoch(2), first)


def test_about_half_of_the_clips_are_mirrored() -> None:
    recording = torch.arange(12.0).expand(50, 3, 12, 12)
    clip_set = ClipSet([recording], [(0, 0)] * 100, 40)
    (batch,) = batches(clip_set, 100, torch.Generator().manual_seed(0))
    mirrored = batch.clips[:, 0, 0, 0, 0] == 11
    assert 35 < int(mirrored.sum()) < 65
    torch.testing.assert_close(
        batch.clips[mirrored].flip(-1), recording[:40].expand_as(batch.clips[mirrored])
    )


@pytest.mark.parametrize("speed", [0.75, 1.0, 1.33])
@pytest.mark.parametrize("start", [0, 150, 300])
def test_a_sine_of_f_played_at_speed_s_has_s_times_f(speed: float, start: int) -> None:
    time = torch.arange(601) / 30
    recording = torch.sin(2 * torch.pi * 1.2 * time)[:, None, None, None].expand(-1, 3, 2, 2)
    clip = _play(ClipSet([recording], [], 300), 0, start, speed, False)
    assert clip.shape == (300, 3, 2, 2)
    first = min(float(start), 600 - speed * 299)  # not beyond the recording's end
    position = (first + speed * torch.arange(300)) / 30
    expected = torch.sin(2 * torch.pi * 1.2 * position)
    torch.testing.assert_close(clip[:, 0, 0, 0], expected, atol=0.01, rtol=0)


def test_a_recording_too_short_for_a_fast_clip_is_played_back_and_forth() -> None:
    recording = torch.arange(40.0)[:, None, None, None].expand(-1, 3, 2, 2)
    clip = _play(ClipSet([recording], [], 40), 0, 0, 1.33, False)[:, 0, 0, 0]
    steps = clip.diff()
    assert bool(((steps.abs() - 1.33).abs() < 1e-4).sum() >= 38)  # the speed holds both ways
    assert float(clip.max()) <= 39
    assert float(clip[-1]) < 39 - 5
