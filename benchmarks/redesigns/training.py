"""One training of an arm, whatever the method."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import gradreg
from benchmarks.redesigns.arms import DEAD_BATCHES, REFRESH_STEPS, Arm
from benchmarks.redesigns.dead_gradients import GradientProjector
from gradreg.buffers import unchanged_buffers

Smoother = gradreg.PerturbationSmoother | gradreg.OnePassSmoother


def train(trainer: Any, arm: Arm, dead_loss: Callable[[], Tensor] | None = None) -> dict[str, Any]:
    """Train for one epoch, in place.

    Args:
        trainer: a `rppg.train.loop.Trainer` with `net` and `optimizer`, built with the arm's batch
            size and levels.
        arm: the arm.
        dead_loss: returns the loss of the next batch of dead clips, for `arm.dead_gradients`.

    Returns:
        `steps`, and `rank`, the number of directions that updates stayed out of at the end.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    if not arm.trained:
        return {"steps": 0, "rank": 0}
    steps = trainer.steps_per_epoch
    if arm.late_rho:
        delay(find_level(trainer.optimizer, Smoother), steps // 2)
    if arm.dead_gradients:
        trainer.optimizer = GradientProjector(trainer.optimizer)
    groups = trainer.optimizer.param_groups
    rates = [group["lr"] for group in groups]
    trainer.start()
    for step, batch in enumerate(trainer.batches(0)):
        if arm.falling:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate * falling(step, steps)
        if arm.dead_gradients and step % REFRESH_STEPS == 0:
            assert dead_loss is not None
            with unchanged_buffers(trainer.net):  # BatchNorm's
                found = gradients(trainer.optimizer.parameters, dead_loss)
            trainer.optimizer.avoid(found)
        row = trainer.step(batch)
        if not math.isfinite(row["loss"]):
            raise FloatingPointError(f"the loss is {row['loss']} at step {step}")
    return {"steps": steps, "rank": rank(trainer.optimizer, trainer.net)}


def falling(step: int, steps: int) -> float:
    """Return the factor on the learning rate, from 1 at the first step to nearly 0 at the last."""
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def delay(smoother: Any, first: int) -> None:
    """Switch a smoother off before step `first`."""
    rho = smoother.rho
    smoother.rho = lambda step: rho if step >= first else 0.0


def gradients(parameters: Sequence[Tensor], loss: Callable[[], Tensor]) -> Tensor:
    """Return `DEAD_BATCHES` gradients, each over all parameters: `(n, parameters)`."""
    rows = []
    for _ in range(DEAD_BATCHES):
        parts = torch.autograd.grad(loss(), parameters, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows)


def find_level(optimizer: Any, kind: Any) -> Any:
    """Return the wrapper of some kind in an optimizer's chain; None if there is none."""
    while optimizer is not None and not isinstance(optimizer, kind):
        optimizer = getattr(optimizer, "inner", None)
    return optimizer


def rank(optimizer: Any, net: nn.Module) -> int:
    """Return the number of protected directions, over the layers of a projector."""
    if isinstance(optimizer, GradientProjector):
        return 0 if optimizer.directions is None else optimizer.directions.shape[1]
    projector = find_level(optimizer, gradreg.NullSpaceProjector)
    if projector is None:
        return 0
    total = 0
    for p in net.parameters():
        try:
            total += projector.basis(p).shape[-1]
        except KeyError:  # not a layer's weight
            continue
    return total
