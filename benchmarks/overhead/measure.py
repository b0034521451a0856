"""Time of interleaved iterations; counts of operations, floating point operations and memory."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.overhead.variants import Iteration

WARM_UP = 3
PERIOD = 5
"""LookSAM's period in iterations: only whole periods are timed."""

CHUNK_S = 0.25
"""About how long one variant runs before the next one."""


@dataclass(frozen=True)
class Counts:
    """Counts of one iteration, independent of the machine's load.

    Attributes:
        operations: calls of ATen operations; a `foreach` over all tensors counts as one.
        gflop: floating point operations of matrix products and convolutions, in units of 1e9.
        peak_mb: peak of the allocated memory, minus that before the iteration.
    """

    operations: int
    gflop: float
    peak_mb: float


class _Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def interleaved_times(
    iterations: Mapping[str, Iteration], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return seconds per iteration, and per observation with its decomposition, by round.

    In each round all variants run one after another for about `CHUNK_S`, so that other load on the
    machine slows all of them.
    """
    steps = {}
    for name, iteration in iterations.items():
        for _ in range(WARM_UP):
            iteration.step()
        started = time.perf_counter()
        iteration.step()
        periods = CHUNK_S / (PERIOD * (time.perf_counter() - started))
        steps[name] = PERIOD * max(1, round(periods))
    per_step: dict[str, list[float]] = {name: [] for name in iterations}
    per_observation: dict[str, list[float]] = {name: [] for name in iterations}
    for _ in range(rounds):
        for name, iteration in iterations.items():
            started = time.perf_counter()
            for _ in range(steps[name]):
                iteration.step()
            step_s = (time.perf_counter() - started) / steps[name]
            per_step[name].append(step_s)
            if iteration.observe is not None:
                started = time.perf_counter()
                iteration.observe()
                iteration.step()
                per_observation[name].append(time.perf_counter() - started - step_s)
    return per_step, per_observation


def count(iteration: Iteration, steps: int = 5) -> Counts:
    """Return mean counts over `steps` iterations, as LookSAM's iterations differ."""
    for _ in range(WARM_UP):
        iteration.step()
    with _Operations() as operations:
        for _ in range(steps):
            iteration.step()
    with FlopCounterMode(display=False) as flops:
        for _ in range(steps):
            iteration.step()
    peak = max(_peak_bytes(iteration) for _ in range(steps))
    return Counts(
        operations=round(operations.count / steps),
        gflop=flops.get_total_flops() / steps / 1e9,
        peak_mb=peak / 1e6,
    )


def _peak_bytes(iteration: Iteration) -> int:
    """Return the highest running sum of the allocator's events in one iteration."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        iteration.step()
    held = peak = 0
    recorded: Any = profiler.profiler
    events = [e for e in recorded.kineto_results.events() if e.name() == "[memory]"]
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
