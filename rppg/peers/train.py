"""Training of PhysNet without labels, by SiNC or Contrast-Phys: `train_peer(config)`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rppg.errors import InputError
from rppg.models.physnet import PhysNet
from rppg.peers.batches import peer_batch_sizes
from rppg.peers.clips import Span, find_spans
from rppg.peers.config import PeerConfig
from rppg.peers.trainer import EpochState, OnEpoch, fit_peer
from rppg.peers.verification import verify
from rppg.renamed import renamed_attribute, renamed_keyword
from rppg.train import distributed
from rppg.train.loop import LogRow
from rppg.train.resume import SAVE_EVERY_S, settings_of
from rppg.train.run import Loading, TrainingRun, TrainProgress
from rppg.train.verified import Score, Wave
from rppg.types import Recording


@dataclass(frozen=True)
class PeerResult:
    """The result of a peer's training run.

    Attributes:
        net: the network of the epoch with the lowest criterion.
        log: one row per step: loss and its terms, clips, seconds.
        provenance: configuration, data and versions, as in the checkpoint.
        epochs: the state after each epoch, with its criterion.
        checkpoint: where it was saved, if it was.
        skipped: reasons, by name, for recordings that could not be used.
    """

    net: PhysNet
    log: list[LogRow]
    provenance: dict[str, Any]
    epochs: list[EpochState]
    checkpoint: Path | None = None
    skipped: dict[str, str] = field(default_factory=dict)

    made = renamed_attribute("made", "provenance")


@renamed_keyword("records", "recordings")
def train_peer(
    config: PeerConfig | None = None,
    *,
    out: Path | None = None,
    recordings: list[Recording] | None = None,
    progress: Callable[[TrainProgress], None] | None = None,
    loading: Loading | None = None,
    on_epoch: OnEpoch | None = None,
    cache: bool = True,
    workers: int | None = 1,
    resume: bool = False,
    save_every_s: float = SAVE_EVERY_S,
    device: str = "cpu",
    score: Score | None = None,
    reference: Wave | None = None,
) -> PeerResult:
    """Train PhysNet without labels.

    The last tenth of the recordings, one at least, is held out: a criterion on them, which needs no
    label, selects the epoch whose weights are kept. It is the method's own, or by a reference
    estimator (`config.select`).

    Args:
        config: the configuration; SiNC on `synthetic:webcam` by default.
        out: folder for `checkpoint.safetensors`, `checkpoint.json` and `log.jsonl`.
        recordings: recordings to train on, instead of `config.data`. Their ground truth is not
            read.
        progress: called after each step; `steps` is their number if the run doesn't stop early.
        loading: called with the number of recordings that are ready, and their total.
        on_epoch: called after each epoch with the network, in evaluation mode, and the state of
            the run, which stops there if it returns True. The run also stops after
            `config.patience` epochs without a better criterion.
        cache: read the crops of `config.data`'s videos from the cache, and store them there.
        workers: processes that read videos into the cache, see `rppg.crops.cache.store`.
        resume: resume a run into `out` after the last epoch whose state it has saved.
        save_every_s: seconds after which the state is saved again, at the end of an epoch.
        device: where the network is trained: `cpu`, `cuda`, `cuda:1`.
        score: the function that scores a recording's crops, for `config.mask`, `config.select`
            and `config.require_pulse`; it gives NaN where it can't. By default that of
            `rppg.train.verified`.
        reference: the function from crops to the reference's wave, for `config.select`; likewise.

    Returns:
        The network and its log. The same configuration gives the same bits on one machine with the
        same number of threads, whatever random numbers `on_epoch` draws.

    Raises:
        InputError: no such device, too few recordings can be used, have a pulse or pass the mask,
            the loss is not finite, or the cache can't be written to.
    """
    config = config or PeerConfig()
    if distributed.is_distributed():
        raise InputError(f"method {config.method} trains in one process; leave torchrun out")
    run = TrainingRun.open(
        settings_of(config.method, config),
        config,
        recordings,
        out=out,
        progress=progress,
        loading=loading,
        cache=cache,
        workers=workers,
        resume=resume,
        save_every_s=save_every_s,
        device=device,
        score=score,
    )
    training, held_out = _hold_out(find_spans(run.crops, config.model, config.clip_frames), config)
    sizes = peer_batch_sizes(training, config)
    verified = verify(training, held_out, config, run.scores, reference)
    on_step = run.on_step(len(sizes) * config.epochs)
    state = run.state(sizes if verified is None else [sizes, verified.decisions])
    with run.seeded():
        net = PhysNet(config.model).to(run.device)
        log, epochs = fit_peer(
            net,
            training,
            held_out,
            config,
            on_step,
            on_epoch,
            state,
            None if verified is None else verified.scores,
            () if verified is None else verified.targets,
        )
    names = [f"{recording.dataset}: {recording.name}" for recording in run.usable]
    provenance = {
        **run.provenance(),
        "held_out": len({span.recording for span in held_out}),
        "clips_per_epoch": sum(sizes),
        "steps": len(log),
        "levels": list(config.levels),
        **({} if verified is None else verified.provenance(names)),
        **({} if config.mask is None else {"skipped_steps": sum(r["skipped"] > 0 for r in log)}),
        "criterion": [epoch.criterion for epoch in epochs],
        "best_epoch": max(epoch.epoch for epoch in epochs if epoch.best),
        "run": run.digest,
    }
    checkpoint = run.save(net.cpu(), provenance, log)
    return PeerResult(net, log, provenance, epochs, checkpoint, provenance["skipped"])


def _hold_out(spans: Sequence[Span], config: PeerConfig) -> tuple[list[Span], list[Span]]:
    """Return the spans to train on, and those of the last tenth of the recordings.

    Raises:
        InputError: fewer than two recordings.
    """
    recordings = sorted({span.recording for span in spans})
    if len(recordings) < 2:
        raise InputError(
            f"{len(recordings)} recordings with a clip of {config.clip_s:g} s with a face "
            "throughout; one is held out, so give two or more, or a smaller clip_frames"
        )
    first = recordings[-max(1, round(len(recordings) / 10))]
    training = [span for span in spans if span.recording < first]
    return training, [span for span in spans if span.recording >= first]
