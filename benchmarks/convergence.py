"""Is one epoch enough? `python -m benchmarks.convergence`.

Trains FCUS-rPPG for ten epochs at one constant learning rate, and two unsupervised peers until
their own label-free criterion is flat or their time is over, all on the same recordings, and
follows the error on all five domains against clips seen and wall-clock. Prints the curves, what a
peer needs for its best and what FCUS needs for the same, what an epoch costs, and which claims
hold; writes `docs/results/convergence.json` and `.svg`. Finished runs are kept: a killed program
goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.claims.cost import cost
from benchmarks.claims.options import Budget, Claim, parse, show_claims, show_table, spread, write
from benchmarks.claims.runs import PEERS
from benchmarks.claims.statistics import (
    Interval,
    Point,
    bootstrap,
    by_subject,
    mean_mae,
    stack,
)
from benchmarks.claims.stored import Result, make_all
from rppg.report.figure_style import PALETTE, in_house_style
from rppg.synthetic.domains import DOMAINS

TARGETS = tuple(DOMAINS)
QUICK = Budget(
    ("webcam",), 2, epochs=2, subjects=6, test_subjects=3, peer_minutes=0.1, curve_subjects=1
)
FULL = Budget(("webcam", "mobile", "wild"), 3, epochs=10)
COST_QUICK = {"subjects": 8, "rounds": 1, "part": 16}
COST_FULL = {"subjects": 68, "rounds": 5, "part": 64}

CLIPS_RATIO, WALL_RATIO = 5, 30


@dataclass(frozen=True)
class Reached:
    """What it takes to be as good as the best peer at its best, on one source.

    Attributes:
        peer: which one.
        mae_bpm: its least error, averaged over the five domains, at any point of its run.
        fcus_mae_bpm: of FCUS after one epoch, on the same people; median over seeds.
        untrained_mae_bpm: of FCUS before training, on the same people.
        clips: that the peer had seen at its best.
        train_s: its wall-clock by then.
        cpu_s: its CPU time by then.
        ratios: of clips, wall-clock and CPU time to FCUS's, a list with one a seed; where FCUS
            does not come that far, 0.
    """

    peer: str
    mae_bpm: float
    fcus_mae_bpm: float
    untrained_mae_bpm: float
    clips: int
    train_s: float
    cpu_s: float
    ratios: dict[str, list[float]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, print, write."""
    options = parse("convergence", __doc__, QUICK, FULL, arguments)
    budget = options.budget
    spent = cost(options.runs, **(COST_QUICK if "--quick" in options.command else COST_FULL))
    ours = [budget.run("fcus", s, seed) for s in budget.sources for seed in range(budget.seeds)]
    untrained = [budget.run("untrained", seed=seed) for seed in range(budget.seeds)]
    peers = [
        budget.run(peer, source, seed)
        for peer in budget.peers
        for source in budget.sources
        for seed in range(budget.peer_seeds)
    ]
    wanted = [*peers, *untrained, *ours]
    found = dict(zip(wanted, make_all(options.runs, wanted, jobs=options.jobs), strict=True))
    start = [found[run] for run in untrained]
    sources = {
        source: Source(
            source,
            [found[run] for run in ours if run.source == source],
            start,
            [found[run] for run in peers if run.source == source],
            budget.epochs,
        )
        for source in budget.sources
    }
    show_table(
        "MAE in bpm, averaged over the five domains: median over seeds (lowest–highest)",
        ("epoch", "clips", *(f"trained on {source}" for source in sources)),
        [
            (
                str(epoch),
                str(epoch * next(iter(sources.values())).clips_per_epoch),
                *(spread(source.errors(epoch)) for source in sources.values()),
            )
            for epoch in range(budget.epochs + 1)
        ],
    )
    reached = {name: source.reached() for name, source in sources.items() if source.peers}
    if reached:
        show_table(
            "Peers: MAE averaged over the five domains; FCUS after one epoch on the same people, "
            "bpm",
            ("peer", "source", "epoch", "clips", "wall-clock s", "criterion", "MAE", "FCUS"),
            [line for source in sources.values() for line in source.peer_lines()],
        )
        show_table(
            "To be as good as the best peer at its best: peer over FCUS, median over seeds",
            ("source", "peer", "MAE", "clips", "wall-clock", "CPU time", "FCUS untrained"),
            [
                (
                    name,
                    r.peer,
                    f"{r.mae_bpm:.2f}",
                    *(f"{median(r.ratios[kind]):.1f}×" for kind in ("clips", "train_s", "cpu_s")),
                    f"{r.untrained_mae_bpm:.2f}",
                )
                for name, r in reached.items()
            ],
        )
    shares = spent["share_of_cpu_time"]
    show_table(
        "Cost of an epoch",
        ("clips", "wall-clock s", "peak memory MB", "parameters", *(f"{k}, share" for k in shares)),
        [
            (
                str(spent["clips"]),
                f"{spent['epoch_s']:.0f}",
                f"{spent['peak_mb']:.0f}",
                str(spent["parameters"]),
                *(f"{share:.0%}" for share in shares.values()),
            )
        ],
    )
    claims = [*one_epoch(sources), *against_peers(sources, reached), *cheap(spent)]
    show_claims(claims)
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
                run["run"]["learner"]: run["config"]
                for source in sources.values()
                for run in source.peers
            },
            "reached": {name: vars(r) for name, r in reached.items()},
            "cost": spent,
        },
        claims,
        draw(sources),
    )


class Source:
    """All runs on one source."""

    def __init__(
        self,
        name: str,
        fcus: list[Result],
        untrained: list[Result],
        peers: list[Result],
        epochs: int,
    ) -> None:
        self.name, self.peers, self.epochs = name, peers, epochs
        self.failed = [run["failed"] for run in fcus if "failed" in run]
        self.fcus = [run for run in fcus if "failed" not in run]
        if not self.fcus:
            raise SystemExit(f"every run on {name} diverged: {self.failed[0]}")
        self.untrained = [untrained[run["run"]["seed"]] for run in self.fcus]
        self.clips_per_epoch = self.fcus[0]["clips_per_epoch"]

    def points(self, epoch: int) -> list[Point]:
        """One a seed; epoch 0 is the untrained network."""
        runs = self.fcus if epoch else self.untrained
        return [next(p for p in run["points"] if p["epoch"] == epoch) for run in runs]

    def errors(self, epoch: int) -> list[float]:
        """MAE averaged over the five domains, one a seed."""
        return [mean_mae(point, TARGETS) for point in self.points(epoch)]

    def curves(self) -> list[dict[str, Any]]:
        """FCUS's error by epoch and seed."""
        return [
            {
                "epoch": epoch,
                "clips": self.points(epoch)[0]["clips"],
                "train_s": [p["train_s"] for p in self.points(epoch)],
                "mae_bpm": self.errors(epoch),
                "by_target": {t: [mean_mae(p, [t]) for p in self.points(epoch)] for t in TARGETS},
                "criterion": [p.get("criterion") for p in self.points(epoch)],
            }
            for epoch in range(self.epochs + 1)
        ]

    def gains(self) -> dict[str, Interval]:
        """One epoch less the untrained network: on the source, and averaged over the five."""
        found = {}
        for where, targets in (("own", [self.name]), ("all five", list(TARGETS))):
            pairs = zip(self.points(1), self.points(0), strict=True)
            values, groups = stack([by_subject(p, targets) for pair in pairs for p in pair])
            found[where] = bootstrap(np.mean(values[0::2] - values[1::2], axis=0), groups)
        return found

    def peer_rows(self) -> list[dict[str, Any]]:
        """Every point of every peer's run, with FCUS's first epoch on the same people."""
        rows = []
        for run in self.peers:
            for point in run["points"]:
                among = list(by_subject(point, TARGETS))
                rows.append(
                    {
                        "peer": run["run"]["learner"],
                        "source": self.name,
                        "seed": run["run"]["seed"],
                        **{
                            k: point[k] for k in ("epoch", "clips", "train_s", "cpu_s", "criterion")
                        },
                        "picked": bool(point.get("picked")),
                        "people": len(among),
                        "mae_bpm": mean_mae(point, TARGETS),
                        "fcus_mae_bpm": self._at_first(among),
                        **{k: run[k] for k in ("stopped", "epochs_done", "epochs_published")},
                        "parameters": run["parameters"],
                    }
                )
        return rows

    def peer_lines(self) -> list[list[str]]:
        """`peer_rows`, as they are printed."""
        return [
            [
                f"{r['peer']} (seed {r['seed']}; {r['epochs_done']} of {r['epochs_published']} "
                f"epochs: {r['stopped']})",
                self.name,
                f"{r['epoch']}{', picked by its criterion' if r['picked'] else ''}",
                str(r["clips"]),
                f"{r['train_s']:.0f}",
                f"{r['criterion']:.4f}",
                f"{r['mae_bpm']:.2f}",
                f"{r['fcus_mae_bpm']:.2f}",
            ]
            for r in self.peer_rows()
        ]

    def reached(self) -> Reached:
        """What FCUS needs to be as good as the best point of any peer's run."""
        run, point = min(
            (
                (run, point)
                for run in self.peers
                for point in run["points"]
                if not point.get("picked")  # on more people, so not to be compared with the others
            ),
            key=lambda pair: mean_mae(pair[1], TARGETS),
        )
        among, best = list(by_subject(point, TARGETS)), mean_mae(point, TARGETS)
        ratios: dict[str, list[float]] = {"clips": [], "train_s": [], "cpu_s": []}
        for ours in self.fcus:
            there = (p for p in ours["points"] if mean_mae(p, TARGETS, among) <= best)
            first = next(there, None)
            for kind, values in ratios.items():
                values.append(point[kind] / first[kind] if first else 0.0)
        return Reached(
            peer=run["run"]["learner"],
            mae_bpm=best,
            fcus_mae_bpm=self._at_first(among),
            untrained_mae_bpm=median(mean_mae(p, TARGETS, among) for p in self.points(0)),
            clips=point["clips"],
            train_s=point["train_s"],
            cpu_s=point["cpu_s"],
            ratios=ratios,
        )

    def _at_first(self, among: Sequence[tuple[str, str]]) -> float:
        return median(mean_mae(p, TARGETS, among) for p in self.points(1))


def one_epoch(sources: dict[str, Source]) -> list[Claim]:
    """Better than untrained, and nearly as good as it gets."""
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
            claims.append(Claim(f"{name}: no run diverged", "; ".join(source.failed), False))
    return claims


def against_peers(sources: dict[str, Source], reached: dict[str, Reached]) -> list[Claim]:
    """At or below every point of every peer's run, with fewer clips and in less time."""
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


def cheap(spent: dict[str, Any]) -> list[Claim]:
    """What an epoch costs."""
    return [
        Claim(
            "an epoch of ≥ 200 clips in under 3 minutes on two cores",
            f"{spent['clips']} clips, {spent['epoch_s']:.0f} s",
            spent["epoch_s"] < 180 if spent["clips"] >= 200 else None,
        ),
        Claim(
            "in under 2 GB of memory",
            f"{spent['peak_mb']:.0f} MB",
            spent["peak_mb"] < 2000 if spent["clips"] >= 200 else None,
        ),
    ]


@in_house_style
def draw(sources: dict[str, Source]) -> Figure:
    """Error against the wall-clock of training, one line a run."""
    picture = Figure(figsize=(7.5, 3.8), layout="constrained")
    axes = picture.subplots()
    start = median(error for source in sources.values() for error in source.errors(0))
    axes.axhline(start, color="0.4", linewidth=1, linestyle=(0, (5, 2)), label="FCUS, untrained")
    for source in sources.values():
        for run in source.fcus:
            _line(axes, run["points"], PALETTE[0], "FCUS, an epoch a point")
        for run in source.peers:
            kept = [point for point in run["points"] if not point.get("picked")]
            learner = run["run"]["learner"]
            _line(axes, kept, PALETTE[1 + PEERS.index(learner)], learner)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="training so far (s)",
        ylabel="mean absolute error,\naveraged over the five domains (bpm)",
    )
    axes.set_yticks([1, 2, 5, 10, 20, 40], ["1", "2", "5", "10", "20", "40"])
    axes.set_xticks([3, 10, 30, 100, 300, 1000], ["3", "10", "30", "100", "300", "1000"])
    axes.minorticks_off()
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    picture.legend(unique.values(), unique.keys(), loc="outside right center")
    return picture


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
