"""The batches of an epoch, drawn as each method publishes it."""

from collections.abc import Iterator, Sequence

import torch

from rppg.errors import InputError
from rppg.peers.clips import Span, clip_starts, cut_clip
from rppg.peers.config import PeerConfig
from rppg.peers.sinc import augment, draw_speed
from rppg.train.clips import Batch


def peer_batch_sizes(spans: Sequence[Span], config: PeerConfig) -> list[int]:
    """Return the number of clips in each batch of an epoch.

    Raises:
        InputError: Contrast-Phys with fewer recordings than a batch compares.
    """
    if config.method == "sinc":
        full, rest = divmod(len(_sinc_clips(spans, config)), config.batch_size)
        return [config.batch_size] * full + [rest] * (rest > 0)
    videos = len({span.recording for span in spans})
    if videos < config.batch_size:
        raise InputError(
            f"{videos} recordings to train on, but a batch compares {config.batch_size}; "
            "give more recordings or a smaller batch_size"
        )
    return [config.batch_size] * (_clips_per_video(spans, config) * (videos // config.batch_size))


def peer_batches(
    spans: Sequence[Span], config: PeerConfig, generator: torch.Generator
) -> Iterator[Batch]:
    """Yield one epoch: SiNC's clips once each, augmented, or Contrast-Phys's random clips."""
    draw = _sinc_batches if config.method == "sinc" else _contrast_batches
    return draw(spans, config, generator)


def _sinc_clips(spans: Sequence[Span], config: PeerConfig) -> list[tuple[Span, int]]:
    return [
        (span, start)
        for span in spans
        for start in clip_starts(span, config.clip_frames, config.stride_frames)
    ]


def _sinc_batches(
    spans: Sequence[Span], config: PeerConfig, generator: torch.Generator
) -> Iterator[Batch]:
    all_clips = _sinc_clips(spans, config)
    frames = config.clip_frames
    for part in torch.randperm(len(all_clips), generator=generator).split(config.batch_size):
        clips, speeds, recordings = [], [], []
        for index in part.tolist():
            span, start = all_clips[index]
            fastest = (len(span.grid_s) - 1 - start) / (frames - 1)
            speed = draw_speed(config.sinc, fastest, generator)
            clip = cut_clip(span, start, frames, config.model, speed)
            clips.append(augment(clip, config.sinc, generator))
            speeds.append(speed)
            recordings.append(span.recording)
        yield Batch(torch.stack(clips), torch.tensor(speeds), recordings)


def _clips_per_video(spans: Sequence[Span], config: PeerConfig) -> int:
    """Return the clips that an epoch takes of each video: as many strides as fit, on average."""
    videos = len({span.recording for span in spans})
    frames = sum(len(span.grid_s) for span in spans) / videos
    return max(1, round(frames / config.stride_frames))


def _contrast_batches(
    spans: Sequence[Span], config: PeerConfig, generator: torch.Generator
) -> Iterator[Batch]:
    """Yield whole batches of one random clip of each video, several times.

    Each time the videos that are left over from whole batches are other ones.
    """
    frames = config.clip_frames
    starts: dict[int, list[tuple[Span, int]]] = {}
    for span in spans:
        of_video = starts.setdefault(span.recording, [])
        of_video += [(span, first) for first in clip_starts(span, frames, 1)]
    videos = list(starts.values())
    for _ in range(_clips_per_video(spans, config)):
        order = torch.randperm(len(videos), generator=generator)
        for part in order.split(config.batch_size):
            if len(part) < config.batch_size:
                continue
            clips, recordings = [], []
            for index in part.tolist():
                candidates = videos[index]
                drawn = int(torch.randint(len(candidates), (), generator=generator))
                span, start = candidates[drawn]
                clips.append(cut_clip(span, start, frames, config.model))
                recordings.append(span.recording)
            yield Batch(torch.stack(clips), torch.ones(len(clips)), recordings)
