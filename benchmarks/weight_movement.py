"""How far the weights move in each of ten epochs: `python -m benchmarks.weight_movement`.

Trains FCUS-rPPG with its defaults on webcam, mobile and wild, ten epochs at one constant learning
rate, as `benchmarks.convergence` does. Prints the distance (L2 norm) between the weights before and
after each epoch, and from the start, beside the norm of the weights at the start; the errors of the
same trainings are those of `benchmarks.convergence`. Writes `docs/results/weight_movement.json`
after each training, and continues from it.
"""

from itertools import pairwise
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from benchmarks.convergence import FULL
from benchmarks.results import arguments, markdown_table, saved_part, write_json
from benchmarks.trials.fcus import clips_of, new_network
from rppg.train.clips import batch_sizes
from rppg.train.config import TrainConfig
from rppg.train.fcus import fit_fcus
from rppg.train.loop import LogRow
from rppg.video.threads import one_thread


def main() -> None:
    """Train, print, write."""
    parser = arguments(__doc__, "weight_movement")
    parser.add_argument("--sources", nargs="+", default=list(FULL.sources))
    parser.add_argument("--seeds", type=int, default=FULL.seeds)
    parser.add_argument("--epochs", type=int, default=FULL.epochs)
    parser.add_argument("--subjects", type=int, default=FULL.subjects)
    options = parser.parse_args()
    settings = {"epochs": options.epochs, "subjects": options.subjects}
    trainings = saved_part(options.out, "trainings", settings)
    for source in options.sources:
        for seed in range(options.seeds):
            name = f"{source} seed {seed}"
            if name not in trainings:
                config = TrainConfig(seed=seed, epochs=options.epochs)
                with one_thread():
                    trainings[name] = measure(source, options.subjects, config)
                write_json(options.out, {"settings": settings, "trainings": trainings})
    print(table(trainings, options.epochs))


def measure(source: str, subjects: int, config: TrainConfig) -> dict[str, Any]:
    """Train, and return the norm of the first weights and the distances that they moved."""
    clip_set, *_ = clips_of(source, subjects, config.clip_s, config.stride_s, config.model)
    net = new_network(config)
    steps = len(batch_sizes(len(clip_set.clips), config.batch_size))
    weights = [_weights(net)]
    rows: list[LogRow] = []

    def on_step(row: LogRow) -> None:
        rows.append(row)
        if len(rows) % steps == 0:
            weights.append(_weights(net))

    fit_fcus(net, clip_set, config, on_step)
    return {
        "norm": _distance(weights[0], torch.zeros(())),
        "in_epoch": [_distance(before, after) for before, after in pairwise(weights)],
        "from_start": [_distance(weights[0], after) for after in weights[1:]],
    }


def table(trainings: dict[str, Any], epochs: int) -> str:
    """Return a Markdown table: a row for each training domain, the mean over its seeds."""
    rows = []
    for source in dict.fromkeys(name.split()[0] for name in trainings):
        own = [found for name, found in trainings.items() if name.split()[0] == source]
        by_epoch = zip(*(found["in_epoch"] for found in own), strict=True)
        in_epoch = [fmean(moved) for moved in by_epoch]
        start = fmean(found["from_start"][-1] for found in own)
        norm = fmean(found["norm"] for found in own)
        rows.append(
            [source, *(f"{moved:.2f}" for moved in in_epoch), f"{start:.2f}", f"{norm:.2f}"]
        )
    head = ["trained on", *(f"epoch {e}" for e in range(1, epochs + 1)), "from the start", "norm"]
    return markdown_table(head, rows, align=["---:"])


def _weights(net: torch.nn.Module) -> Tensor:
    return parameters_to_vector(net.parameters()).detach().clone()


def _distance(a: Tensor, b: Tensor) -> float:
    return round(float((a - b).norm()), 4)


if __name__ == "__main__":
    main()
