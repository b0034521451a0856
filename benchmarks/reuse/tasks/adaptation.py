"""Test-time adaptation of a digit classifier, without labels.

It is trained on clean images and used on a stream with uneven light and sensor noise. As in real
streams, the images are sorted by class, and some show no digit. It minimises the entropy of its own
outputs, batch by batch; all weights adapt.

mask      uncertain outputs are left out: keep entropies under a share of ln C (also at the
          perturbed weights, as the closure verifies each time it is called)
smooth    SAM: in entropy's sharp minima all outputs collapse to one class
project   the first layer's response to blank images is removed before the first step and kept out
"""

from __future__ import annotations

import copy
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.reuse.levels import Options, kept_mean, observe_noise, wrap
from benchmarks.reuse.tasks.images import CLASSES, PIXELS, shade, split
from benchmarks.reuse.tasks.task import Metric, Task
from gradreg import Entropy

MAIN_METRIC = Metric("online accuracy on the stream's digits", higher_is_better=True)

BATCH, OUTLIERS, SHADES = 32, 8, 4
SHADE, NOISE = 1.0, 0.15


@lru_cache(maxsize=32)
def source(seed: int) -> nn.Sequential:
    """Train the classifier on 1000 clean images with labels; the adaptation sees neither."""
    images, labels, _, _ = split(seed, 1000)
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(PIXELS, 64), nn.LayerNorm(64), nn.ReLU(),
        nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(),
        nn.Linear(64, CLASSES),
    )  # fmt: skip
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(200):
        batch = torch.randint(len(images), (64,), generator=generator)
        loss = F.cross_entropy(model(images[batch]), labels[batch])
        opt.zero_grad()
        loss.backward()
        opt.step()
    return model


@lru_cache(maxsize=32)
def stream(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return batches (n, 40, 64), their labels (n, 40), -1 for no digit, and blank images (64, 64).

    The 797 images occur three times, each time in other light: shuffled, then twice by class.
    """
    _, _, images, labels = split(seed, 1000)
    g = torch.Generator().manual_seed(seed + 1)
    used = len(images) // BATCH * BATCH
    shuffled = torch.randperm(len(images), generator=g)
    by_class = labels.argsort(stable=True)
    batches, targets = [], []
    for order in (shuffled, by_class, by_class):
        x, y = images[order[:used]], labels[order[:used]]
        x = x + shade(used, SHADE, SHADES, g) + NOISE * torch.randn(x.shape, generator=g)
        x, y = x.view(-1, BATCH, PIXELS), y.view(-1, BATCH)
        outliers = 2 * torch.rand(len(x), OUTLIERS, PIXELS, generator=g)
        batches.append(torch.cat([x, outliers], dim=1))
        targets.append(torch.cat([y, y.new_full((len(y), OUTLIERS), -1)], dim=1))
    return torch.cat(batches), torch.cat(targets), shade(64, SHADE, SHADES, g)


def run(options: Options, seed: int) -> float:
    """Adapt along the stream; return the accuracy on digits, before each step."""
    model = copy.deepcopy(source(seed))
    batches, labels, blank = stream(seed)
    batches, labels = batches[: options.get("batches")], labels[: options.get("batches")]
    base = torch.optim.SGD(model.parameters(), lr=options["lr"], momentum=options["momentum"])
    opt = wrap(base, model, Entropy(options.get("mask", 1.0), keepdim=False), options)
    observe_noise(opt, model[0], blank, options)
    right = total = 0
    for images, truth in zip(batches, labels, strict=True):
        outputs: list[Tensor] = []

        def closure(images: Tensor = images, outputs: list[Tensor] = outputs) -> Tensor:
            opt.zero_grad()
            logits = model(images)
            outputs.append(logits.detach())
            entropy = torch.special.entr(logits.softmax(-1)).sum(-1)
            keep = torch.ones_like(entropy)
            if "mask" in options:
                entropy, keep = opt.verify(entropy, evidence=logits.detach())
            loss = kept_mean(entropy, keep)
            loss.backward()
            return loss

        opt.step(closure)
        digit = truth >= 0
        right += int((outputs[0].argmax(-1) == truth)[digit].sum())
        total += int(digit.sum())
    return right / total


TASK = Task(
    name="adaptation",
    title="test-time adaptation to uneven light",
    metric=MAIN_METRIC,
    space={
        "lr": (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
        "momentum": (0.0, 0.5, 0.9),
        "mask": (0.1, 0.2, 0.4, 0.6),
        "rho": (0.003, 0.01, 0.03, 0.1),
        "clear": (True,),
    },
    quick={"batches": 4},
    run=run,
)
