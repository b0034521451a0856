"""Error by epoch, of FCUS-rPPG and its peers: `python -m benchmarks.convergence`.

The study `benchmarks/studies/convergence.toml`: FCUS-rPPG trained for ten epochs at one constant
learning rate, and unsupervised peers (`--peers`) until their own label-free criterion is flat, all
on the same recordings, tested on all five domains after each epoch. Prints the error against clips
seen and wall-clock time, what each peer needs for its lowest error and what FCUS needs for the
same, the cost of an epoch, and which claims hold; writes `docs/results/convergence.json` and
`.svg`. Finished trials are stored, so an interrupted program continues.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.study.from_study import parse_study, run_study
from benchmarks.study.output import Claim, print_claims, print_table, spread, write
from benchmarks.study.statistics import (
    Interval,
    Point,
    bootstrap,
    by_subject,
    mean_mae,
    stack,
)
from benchmarks.trials.epoch_cost import epoch_cost
from benchmarks.trials.store import Result
from benchmarks.trials.trial_settings import PEERS
from rppg.report.figure_style import PALETTE, in_house_style
from rppg.study.config import UNTRAINED
from rppg.synthetic.domains import DOMAINS

TARGETS = tuple(DOMAINS)
QUICK = {
    "train_on": ("webcam",),
    "seeds": 2,
    "subjects": 6,
    "test_subjects": 3,
    "settings": {"fcus": {"epochs": 2}},
}
COST_QUICK = {"subjects": 8, "rounds": 1, "part": 16}
COST_FULL = {"subjects": 68, "rounds": 5, "part": 64}

CLIPS_RATIO, WALL_RATIO = 5, 30


@dataclass(frozen=True)
class Reached:
    """The effort that the best peer's lowest error takes, on one source.

    Attributes:
        peer: the best peer.
        mae_bpm: its lowest error at any point, averaged over the five domains.
        fcus_mae_bpm: error of FCUS after one epoch; median over seeds.
        untrained_mae_bpm: error of FCUS before training.
        clips: clips that the peer had seen at that point.
        train_s: its wall-clock time until then.
        ratios: the peer's clips and wall-clock time over FCUS's, one per seed; 0 where FCUS doesn't
            reach the peer's error.
    """

    peer: str
    mae_bpm: float
    fcus_mae_bpm: float
    untrained_mae_bpm: float
    clips: int
    train_s: float
    ratios: dict[str, list[float]]


def main(command_line: Sequence[str] | None = None) -> None:
    """Compute missing trials, print, write."""
    options = parse_study("convergence", __doc__, QUICK, command_line)
    cost = epoch_cost(options.folder, **(COST_QUICK if options.quick else COST_FULL))
    results = list(run_study(options).values())

    def of(method: str, source: str) -> list[Result]:
        about = [(r, r["trial"]) for r in results]
        return [r for r, t in about if (t["method"], t["source"]) == (method, source)]

    peers = [method for method in options.study.learners if method != "fcus"]
    sources = {
        source: Source(
            source,
            of("fcus", source),
            of(UNTRAINED, ""),
            [result for peer in peers for result in of(peer, source)],
        )
        for source in options.sources
    }
    epochs = min(source.epochs for source in sources.values())
    print_table(
        "MAE in bpm, averaged over the five domains: median over seeds (lowest–highest)",
        ("epoch", "clips", *(f"trained on {source}" for source in sources)),
        [
            (
                str(epoch),
                str(epoch * next(iter(sources.values())).clips_per_epoch),
                *(spread(source.errors(epoch)) for source in sources.values()),
            )
            for epoch in range(epochs + 1)
        ],
    )
    reached = {name: source.reached() for name, source in sources.items() if source.peers}
    if reached:
        print_table(
            "Peers: MAE averaged over the five domains; FCUS after one epoch, bpm",
            ("peer", "source", "epoch", "clips", "wall-clock s", "MAE", "FCUS"),
            [line for source in sources.values() for line in source.peer_table()],
        )
        print_table(
            "To be as good as the best peer at its best: peer over FCUS, median over seeds",
            ("source", "peer", "MAE", "clips", "wall-clock", "FCUS untrained"),
            [
                (
                    name,
                    r.peer,
                    f"{r.mae_bpm:.2f}",
                    *(f"{median(r.ratios[kind]):.1f}×" for kind in ("clips", "train_s")),
                    f"{r.untrained_mae_bpm:.2f}",
                )
                for name, r in reached.items()
            ],
        )
    shares = cost["share_of_cpu_time"]
    print_table(
        "Cost of an epoch",
        ("clips", "wall-clock s", "peak memory MB", "parameters", *(f"{k}, share" for k in shares)),
        [
            (
                str(cost["clips"]),
                f"{cost['epoch_s']:.0f}",
                f"{cost['peak_mb']:.0f}",
                str(cost["parameters"]),
                *(f"{share:.0%}" for share in shares.values()),
            )
        ],
    )
    claims = [*one_epoch(sources), *against_peers(sources, reached), *cheap(cost)]
    print_claims(claims)
    write(
        options,
        {
            "curves": {name: source.curves() for name, source in sources.items()},
            "trained_less_untrained": {
                name: {where: vars(gain) for where, gain in source.gains().items()}
                for name, source in sources.items()
            },
            "peers": [row for source in sources.values() for row in source.peer_rows()],
            "peer_configs": {
                result["trial"]["method"]: result["config"]
                for source in sources.values()
                for result in source.peers
            },
            "reached": {name: vars(r) for name, r in reached.items()},
            "cost": cost,
        },
        claims,
        draw(sources),
    )


class Source:
    """All trials on one source."""

    def __init__(
        self,
        name: str,
        fcus: list[Result],
        untrained: list[Result],
        peers: list[Result],
    ) -> None:
        self.name, self.peers = name, peers
        self.failed = [result["failed"] for result in fcus if "failed" in result]
        self.fcus = [result for result in fcus if "failed" not in result]
        if not self.fcus:
            raise SystemExit(f"every training on {name} diverged: {self.failed[0]}")
        self.untrained = [untrained[result["trial"]["seed"]] for result in self.fcus]
        self.clips_per_epoch = self.fcus[0]["clips_per_epoch"]
        self.epochs = self.fcus[0]["points"][-1]["epoch"]

    def points(self, epoch: int) -> list[Point]:
        """Return one point per seed; epoch 0 is the untrained network."""
        results = self.fcus if epoch else self.untrained
        return [next(p for p in result["points"] if p["epoch"] == epoch) for result in results]

    def errors(self, epoch: int) -> list[float]:
        """Return the MAE averaged over the five domains, one per seed."""
        return [mean_mae(point, TARGETS) for point in self.points(epoch)]

    def curves(self) -> list[dict[str, Any]]:
        """Return FCUS's error by epoch and seed."""
        return [
            {
                "epoch": epoch,
                "clips": self.points(epoch)[0]["clips"],
                "train_s": [p["train_s"] for p in self.points(epoch)],
                "mae_bpm": self.errors(epoch),
                "by_target": {t: [mean_mae(p, [t]) for p in self.points(epoch)] for t in TARGETS},
            }
            for epoch in range(self.epochs + 1)
        ]

    def gains(self) -> dict[str, Interval]:
        """Return one epoch minus untrained, on the source and averaged over the five domains."""
        gains = {}
        for where, targets in (("own", [self.name]), ("all five", list(TARGETS))):
            pairs = zip(self.points(1), self.points(0), strict=True)
            values, groups = stack([by_subject(p, targets) for pair in pairs for p in pair])
            gains[where] = bootstrap(np.mean(values[0::2] - values[1::2], axis=0), groups)
        return gains

    def peer_rows(self) -> list[dict[str, Any]]:
        """Return every point of every peer, with FCUS's first epoch."""
        return [
            {
                "peer": result["trial"]["method"],
                "source": self.name,
                "seed": result["trial"]["seed"],
                **{k: point[k] for k in ("epoch", "clips", "train_s")},
                "picked": point["epoch"] == result["best_epoch"],
                "mae_bpm": mean_mae(point, TARGETS),
                "fcus_mae_bpm": median(self.errors(1)),
                "epochs_trained": result["epochs"],
                "epochs_planned": result["config"]["epochs"],
            }
            for result in self.peers
            for point in result["points"]
        ]

    def peer_table(self) -> list[list[str]]:
        """Return `peer_rows` as rows of text."""
        return [
            [
                f"{r['peer']} (seed {r['seed']}; {r['epochs_trained']} of {r['epochs_planned']} "
                "epochs)",
                self.name,
                f"{r['epoch']}{', picked by its criterion' if r['picked'] else ''}",
                str(r["clips"]),
                f"{r['train_s']:.0f}",
                f"{r['mae_bpm']:.2f}",
                f"{r['fcus_mae_bpm']:.2f}",
            ]
            for r in self.peer_rows()
        ]

    def reached(self) -> Reached:
        """Return the effort to reach the lowest error of any peer at any point."""
        result, point = min(
            ((result, point) for result in self.peers for point in result["points"]),
            key=lambda pair: mean_mae(pair[1], TARGETS),
        )
        best = mean_mae(point, TARGETS)
        ratios: dict[str, list[float]] = {"clips": [], "train_s": []}
        for ours in self.fcus:
            first = next((p for p in ours["points"] if mean_mae(p, TARGETS) <= best), None)
            for kind, values in ratios.items():
                values.append(point[kind] / first[kind] if first else 0.0)
        return Reached(
            peer=result["trial"]["method"],
            mae_bpm=best,
            fcus_mae_bpm=median(self.errors(1)),
            untrained_mae_bpm=median(self.errors(0)),
            clips=point["clips"],
            train_s=point["train_s"],
            ratios=ratios,
        )


def one_epoch(sources: dict[str, Source]) -> list[Claim]:
    """Return claims that one epoch beats untrained, and is nearly as good as the best epoch."""
    claims = []
    for name, source in sources.items():
        for where, gain in source.gains().items():
            claims.append(
                Claim(
                    f"{name}: one epoch beats the untrained network on {where}",
                    str(gain),
                    gain.high < 0,
                )
            )
        curve = [median(source.errors(epoch)) for epoch in range(1, source.epochs + 1)]
        best = int(np.argmin(curve))
        claims.append(
            Claim(
                f"{name}: one epoch is within 0.3 bpm of the best of {source.epochs}",
                f"{curve[0]:.2f}; best {curve[best]:.2f} after {best + 1}",
                curve[0] - curve[best] <= 0.3,
            )
        )
        if source.failed:
            claims.append(Claim(f"{name}: no training diverged", "; ".join(source.failed), False))
    return claims


def against_peers(sources: dict[str, Source], reached: dict[str, Reached]) -> list[Claim]:
    """Return claims that FCUS beats every peer at any point, with fewer clips, in less time."""
    claims = []
    for name, best in reached.items():
        rows = sources[name].peer_rows()
        closest = min(rows, key=lambda row: row["mae_bpm"] - row["fcus_mae_bpm"])
        claims.append(
            Claim(
                f"{name}: one epoch ≤ every peer at any point, averaged over the five",
                f"{closest['fcus_mae_bpm']:.2f}; closest {closest['peer']} "
                f"{closest['mae_bpm']:.2f} (epoch {closest['epoch']})",
                closest["fcus_mae_bpm"] <= closest["mae_bpm"],
            )
        )
        for kind, what, least in (
            ("clips", "clips", CLIPS_RATIO),
            ("train_s", "wall-clock", WALL_RATIO),
        ):
            ratio = median(best.ratios[kind])
            claims.append(
                Claim(
                    f"{name}: ≥ {least}× less {what} to the best peer's best",
                    f"{ratio:.1f}× (to {best.peer}'s {best.mae_bpm:.2f})",
                    ratio >= least,
                )
            )
    overall = fmean(median(source.errors(1)) for source in sources.values())
    claims.append(Claim("mean over sources after one epoch, bpm", f"{overall:.2f}", None))
    return claims


def cheap(cost: dict[str, Any]) -> list[Claim]:
    """Return claims about the cost of an epoch."""
    return [
        Claim(
            "an epoch of ≥ 200 clips in under 3 minutes on two cores",
            f"{cost['clips']} clips, {cost['epoch_s']:.0f} s",
            cost["epoch_s"] < 180 if cost["clips"] >= 200 else None,
        ),
        Claim(
            "in under 2 GB of memory",
            f"{cost['peak_mb']:.0f} MB",
            cost["peak_mb"] < 2000 if cost["clips"] >= 200 else None,
        ),
    ]


@in_house_style
def draw(sources: dict[str, Source]) -> Figure:
    """Draw the error against the wall-clock time of training, one line per trial."""
    figure = Figure(figsize=(7.5, 3.8), layout="constrained")
    axes = figure.subplots()
    start = median(error for source in sources.values() for error in source.errors(0))
    axes.axhline(start, color="0.4", linewidth=1, linestyle=(0, (5, 2)), label="FCUS, untrained")
    for source in sources.values():
        for result in source.fcus:
            _line(axes, result["points"], PALETTE[0], "FCUS, one point per epoch")
        for result in source.peers:
            peer = result["trial"]["method"]
            _line(axes, result["points"], PALETTE[1 + PEERS.index(peer)], peer)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="training time (s)",
        ylabel="mean absolute error,\naveraged over the five domains (bpm)",
    )
    axes.set_yticks([1, 2, 5, 10, 20, 40], ["1", "2", "5", "10", "20", "40"])
    axes.set_xticks([3, 10, 30, 100, 300, 1000], ["3", "10", "30", "100", "300", "1000"])
    axes.minorticks_off()
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside right center")
    return figure


def _line(axes: Any, points: Sequence[Point], colour: str, label: str) -> None:
    axes.plot(
        [point["train_s"] for point in points],
        [mean_mae(point, TARGETS) for point in points],
        "o-",
        color=colour,
        markersize=4,
        linewidth=1,
        alpha=0.8,
        label=label,
    )


if __name__ == "__main__":
    main()
