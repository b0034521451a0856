"""The projector on a transformer: `python -m benchmarks.projector_transformer`.

Prints how far a transformer layer's answer to observed noise moves in 50 steps of AdamW. Then time
and size of a wide layer's projection with its exact second moment and with a sketch, and with
`--large` those of a transformer of 12 layers. One torch thread. Writes
`docs/results/projector_transformer.json`.
"""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

import gradreg
from benchmarks.results import arguments, markdown_table, write_json

WIDTH, TOKENS, STEPS = 32, 8, 50
ROWS = {
    "bare": None,
    "projector": {},
    "projector, bias=True": {"bias": True},
    "projector, norms frozen": {"norms": False},
    "projector, norms frozen, bias=True": {"norms": False, "bias": True},
    "projector, without attention": {"exclude": ["self_attn"]},
}


def response_moved(options: dict[str, Any] | None, seed: int) -> float:
    """Return by how much, relative to its norm, the answer to noise moves in training."""
    torch.manual_seed(seed)
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=True)
    noise = torch.randn(16, TOKENS, 3) @ torch.randn(3, WIDTH)
    options = None if options is None else dict(options)
    for norm in (layer.norm1, layer.norm2):
        norm.requires_grad_(True if options is None else options.get("norms", True))
    optimizer: Any = torch.optim.AdamW(layer.parameters(), lr=1e-2)
    if options is not None:
        options.pop("norms", None)
        optimizer = gradreg.NullSpaceProjector(
            optimizer, layer, energy=0.9999, max_fraction=0.9, **options
        )
        with optimizer.observe_noise():
            layer(noise)
    before = layer(noise).detach()
    for _ in range(STEPS):
        x = torch.randn(16, TOKENS, WIDTH)
        optimizer.zero_grad()
        (layer(x) - x.roll(1, 1)).square().mean().backward()
        optimizer.step()
    return ((layer(noise) - before).norm() / before.norm()).item()


def features(*shape: int) -> Tensor:
    """Return features whose energy falls with the square of their rank, in random directions."""
    decay = (1 + torch.arange(float(shape[-1]))).reciprocal()
    return torch.randn(shape) * decay @ torch.linalg.qr(torch.randn(shape[-1], shape[-1])).Q


def timed(run: Callable[[], Any]) -> float:
    """Return the seconds that a function takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def cost(model: nn.Module, x: Tensor, max_size: int) -> dict[str, float]:
    """Return times of observation and steps, and the size of the projector's state."""
    optimizer = gradreg.NullSpaceProjector(
        torch.optim.SGD(model.parameters(), lr=0.1), model, max_size=max_size
    )

    def observe() -> None:
        with optimizer.observe_noise():
            model(x)

    observed = timed(observe)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    first, later = timed(optimizer.step), timed(optimizer.step)
    state = io.BytesIO()
    torch.save(optimizer.state_dict()["gradreg"], state)
    ranks = [optimizer.basis(c.weight).shape[-1] for c in optimizer._layers.covered]
    return {
        "max_size": max_size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "observation_s": round(observed, 2),
        "first_step_s": round(first, 2),
        "later_step_s": round(later, 3),
        "state_mb": round(state.tell() / 1e6, 1),
        "largest_rank": max(ranks),
    }


def main(command_line: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = arguments(__doc__, "projector_transformer")
    parser.add_argument("--large", action="store_true", help="also 12 layers of width 768")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(command_line)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the coverage is what is measured
    moved = {
        name: [round(response_moved(settings, seed), 4) for seed in range(options.seeds)]
        for name, settings in ROWS.items()
    }
    rows = [[name, f"{median(v):.3f}", f"{min(v):.3f}–{max(v):.3f}"] for name, v in moved.items()]
    print(markdown_table(["variant", "moved", "range"], rows), flush=True)
    costs = []
    for max_size in (4096, 1024):
        torch.manual_seed(0)
        layer = nn.Linear(3072, 768, bias=False)
        costs.append(cost(layer, features(16, 64, 3072), max_size))
    if options.large:
        torch.manual_seed(0)
        one = nn.TransformerEncoderLayer(768, 12, 3072, batch_first=True, dropout=0.0)
        model = nn.TransformerEncoder(one, 12, enable_nested_tensor=False)
        costs.append(cost(model, features(4, 64, 768), 1024))
    print(markdown_table(list(costs[0]), [list(c.values()) for c in costs]))
    settings = {"seeds": options.seeds, "steps": STEPS, "threads": 1, "torch": torch.__version__}
    write_json(options.out, {"settings": settings, "moved": moved, "costs": costs})


if __name__ == "__main__":
    main()
