"""The contract of `gradreg.testing`, checked for other libraries: `python -m benchmarks.contract`.

Each wrapper is built and stepped as its own documentation says (the adapters below), around SGD
with momentum, Adam and AdamW. A point is "not offered" if the wrapper lacks the method, or needs a
closure where the point has none. Prints the table; writes `docs/results/contract.json` and the
tables of `docs/contract.md`. Needs the `bench` extra.
"""

import logging
import multiprocessing
import platform
import warnings
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_optimizer
import schedulefree
import torch
import torch_optimizer
from torch import nn
from torch.optim import Optimizer

import gradreg
from benchmarks.results import arguments, markdown_table, replace_tables, write_json
from gradreg.testing import CONTRACT, Iteration, Outcome, Report, inspect_wrapper

PAGE = Path("docs/contract.md")
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"

SETTINGS: dict[str, tuple[type[Optimizer], dict[str, Any]]] = {
    "SGD": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9}),
    "Adam": (torch.optim.Adam, {"lr": 0.01}),
    "AdamW": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
}


@dataclass(frozen=True)
class Adapter:
    """The way to use one wrapper, after its documentation.

    Args:
        library: its distribution's name.
        name: of the class, with its settings if it is listed twice.
        build: from the optimizer to wrap and the model to the wrapper.
        step: from the wrapper and the closure to the loss that a step returns.
        clean: context in which the model has the weights for evaluation.
    """

    library: str
    name: str
    build: Callable[[Optimizer, nn.Module], Any]
    step: Callable[[Any, Iteration], Any] = lambda wrapper, closure: wrapper.step(closure)
    clean: Callable[[Any], Any] = lambda wrapper: nullcontext()


def of_class(wrapper: Callable[..., Any], **options: Any) -> Callable[[Optimizer, nn.Module], Any]:
    """Build a wrapper that takes parameters and an optimizer *class* with its settings."""

    def build(optimizer: Optimizer, model: nn.Module) -> Any:
        kind, settings = SETTINGS[type(optimizer).__name__]
        return wrapper(model.parameters(), kind, **options, **settings)

    return build


def of_instance(
    wrapper: Callable[..., Any], **options: Any
) -> Callable[[Optimizer, nn.Module], Any]:
    """Build a wrapper that takes an optimizer instance."""
    return lambda optimizer, model: wrapper(optimizer, **options)


def trained(wrapper: Callable[..., Any]) -> Callable[[Optimizer, nn.Module], Any]:
    """Build a schedule-free wrapper, in train mode."""

    def build(optimizer: Optimizer, model: nn.Module) -> Any:
        built = wrapper(optimizer)
        built.train()
        return built

    return build


def first_gradient_outside(wrapper: Any, closure: Iteration) -> Any:
    """Compute the first gradient before `step`, as pytorch_optimizer's SAM asks."""
    closure()
    return wrapper.step(closure)


def surrogate_gap(optimizer: Optimizer, model: nn.Module) -> Any:
    """Build GSAM with a constant rho."""
    constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)
    rho = pytorch_optimizer.ProportionScheduler(constant, 1.0, 0.0, max_value=0.05, min_value=0.05)
    return pytorch_optimizer.GSAM(model.parameters(), optimizer, model, rho)


def with_set_closure(wrapper: Any, closure: Iteration) -> Any:
    """Give GSAM loss, inputs and targets; it returns predictions and loss."""
    if not closure.backward or closure.factor != 1 or closure.scaler is not None:
        return wrapper.step(lambda: (None, torch.enable_grad()(closure)()))[1]

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (outputs - targets).square().mean()

    wrapper.set_closure(loss, closure.inputs, closure.targets)
    return wrapper.step()[1]


def weighted(optimizer: Optimizer, model: nn.Module) -> Any:
    """Build WSAM, which takes the model first."""
    kind, settings = SETTINGS[type(optimizer).__name__]
    return pytorch_optimizer.WSAM(model, model.parameters(), kind, **settings)


def masked(optimizer: Optimizer, model: nn.Module) -> Any:
    """Build a mask whose prior has state."""
    return gradreg.PostVerificationMask(optimizer, gradreg.WeakAmplitude(0.0, 4.0, adaptive=0.95))


def projected(optimizer: Optimizer, model: nn.Module) -> Any:
    """Build a projector that has observed noise."""
    wrapper = gradreg.NullSpaceProjector(optimizer, model)
    with wrapper.observe_noise():
        model(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    return wrapper


def all_three(optimizer: Optimizer, model: nn.Module) -> Any:
    """Build the canonical stack."""
    return masked(
        gradreg.PerturbationSmoother(projected(optimizer, model), rho=0.05, model=model), model
    )


ADAPTERS = [
    Adapter("gradreg", "PostVerificationMask", masked),
    Adapter("gradreg", "PerturbationSmoother", of_instance(gradreg.PerturbationSmoother)),
    Adapter(
        "gradreg",
        "OnePassSmoother",
        of_instance(gradreg.OnePassSmoother),
        clean=lambda wrapper: wrapper.unperturbed(),
    ),
    Adapter("gradreg", "NullSpaceProjector", projected),
    Adapter("gradreg", "all three", all_three),
    *(
        Adapter("pytorch_optimizer", kind.__name__, of_class(kind), first_gradient_outside)
        for kind in (
            pytorch_optimizer.SAM,
            pytorch_optimizer.LookSAM,
            pytorch_optimizer.FriendlySAM,
        )
    ),
    Adapter("pytorch_optimizer", "GSAM", surrogate_gap, with_set_closure),
    Adapter("pytorch_optimizer", "WSAM", weighted),
    *(
        Adapter("pytorch_optimizer", kind.__name__, of_instance(kind))
        for kind in (
            pytorch_optimizer.Lookahead,
            pytorch_optimizer.OrthoGrad,
        )
    ),
    Adapter(
        "pytorch_optimizer", "ScheduleFreeWrapper", trained(pytorch_optimizer.ScheduleFreeWrapper)
    ),
    Adapter("torch_optimizer", "Lookahead", of_instance(torch_optimizer.Lookahead)),
    Adapter("schedulefree", "ScheduleFreeWrapper", trained(schedulefree.ScheduleFreeWrapper)),
    Adapter(
        "schedulefree",
        "ScheduleFreeWrapperReference",
        trained(schedulefree.ScheduleFreeWrapperReference),
    ),
]


def check(job: tuple[int, str]) -> tuple[Outcome, ...]:
    """Check all points for one adapter around one optimizer, copying last.

    Unpickling can patch a wrapper's class, so that later points would fail, too.
    """
    index, name = job
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")  # the scheduler's point records its own
    adapter = ADAPTERS[index]
    report = inspect_wrapper(
        adapter.build,
        {name: _maker(*SETTINGS[name])},
        points={p: CONTRACT[p] for p in sorted(CONTRACT, key=("deepcopy", "pickle").__contains__)},
        step=adapter.step,
        clean=adapter.clean,
    )
    return report.outcomes


def check_all() -> dict[tuple[str, str], Report]:
    """Check every point for every adapter, around each optimizer in a separate process."""
    jobs = [(i, name) for i in range(len(ADAPTERS)) for name in SETTINGS]
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        outcomes = dict(zip(jobs, pool.map(check, jobs, chunksize=1), strict=True))
    return {
        (adapter.library, adapter.name): Report(
            tuple(outcome for name in SETTINGS for outcome in outcomes[i, name])
        )
        for i, adapter in enumerate(ADAPTERS)
    }


def _maker(
    kind: type[Optimizer], settings: dict[str, Any]
) -> Callable[[Iterable[nn.Parameter]], Optimizer]:
    return lambda parameters: kind(parameters, **settings)


def main() -> None:
    """Check, print, write."""
    parser = arguments(__doc__, "contract")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    reports = check_all()
    table = _table(reports)
    _print(reports, table)
    versions = {
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", *dict.fromkeys(a.library for a in ADAPTERS))},
    }
    result = {
        "versions": versions,
        "optimizers": {name: settings for name, (_, settings) in SETTINGS.items()},
        "wrappers": [
            {
                "library": library,
                "name": name,
                "points": {
                    point: {
                        o.optimizer: o.result + (f": {o.reason}" if o.reason else "")
                        for o in report.outcomes
                        if o.point == point
                    }
                    for point in CONTRACT
                },
            }
            for (library, name), report in reports.items()
        ],
    }
    write_json(options.out, result)
    replace_tables(options.page, _page(reports, table, versions), BEGIN, END)


Rows = list[list[str]]


def _table(reports: dict[tuple[str, str], Report]) -> Rows:
    """Return one row per wrapper: names, points passed around each optimizer, a sign per point."""
    rows = []
    for (library, name), report in reports.items():
        passed = [
            str(sum(o.result == "pass" for o in report.outcomes if o.optimizer == optimizer))
            for optimizer in SETTINGS
        ]
        rows.append([library, name, *passed, *(_sign(report, point) for point in CONTRACT)])
    return rows


def _sign(report: Report, point: str) -> str:
    results = [o.result for o in report.outcomes if o.point == point]
    if "fail" in results:
        return "✗" if set(results) == {"fail"} else "◐"
    return "–" if "not offered" in results else "✓"


def _header() -> list[str]:
    return ["library", "wrapper", *SETTINGS, *(str(i + 1) for i in range(len(CONTRACT)))]


def _page(reports: dict[tuple[str, str], Report], table: Rows, versions: dict[str, str]) -> str:
    header = _header()
    align = ["---", *["---:"] * len(SETTINGS), *[":---:"] * len(CONTRACT)]
    lines = [
        "✓ passes around all three optimizers, ✗ fails around all, ◐ fails around some, – not",
        "offered. The columns SGD, Adam and AdamW count the points passed of 16.",
        "",
        markdown_table(header, table, align=align),
        "",
        "Versions: " + ", ".join(f"{name} {number}" for name, number in versions.items()) + ".",
        "",
        "### Why not",
        "",
    ]
    for (library, name), report in reports.items():
        reasons = _reasons(report)
        if reasons:
            lines += [f"**{library} {name}**", "", *(f"- {_plain(r)}" for r in reasons), ""]
    return "\n".join(lines).rstrip()


def _reasons(report: Report) -> list[str]:
    """Return a line for each reason, with its points and optimizers."""
    points: dict[tuple[str, str], dict[str, list[str]]] = {}
    for o in report.outcomes:
        if o.result != "pass":
            points.setdefault((o.result, o.reason), {}).setdefault(o.point, []).append(o.optimizer)
    lines = []
    for (result, reason), by_point in points.items():
        by_optimizers: dict[str, list[str]] = {}
        for point, optimizers in by_point.items():
            where = "" if len(optimizers) == len(SETTINGS) else f" (around {', '.join(optimizers)})"
            by_optimizers.setdefault(where, []).append(point)
        where = "; ".join("; ".join(p) + around for around, p in by_optimizers.items())
        lines.append(f"{where}: {'not offered, ' if result == 'not offered' else ''}{reason}")
    return lines


def _plain(reason: str) -> str:
    """Return text with angle brackets escaped, as they aren't HTML."""
    return reason.replace("<", "&lt;").replace(">", "&gt;")


def _print(reports: dict[tuple[str, str], Report], table: Rows) -> None:
    try:
        from rich.console import Console  # noqa: PLC0415  # of another extra
        from rich.table import Table  # noqa: PLC0415
    except ImportError:
        for row in [_header(), *table]:
            print("  ".join(row))
    else:
        shown = Table(*_header(), title="The contract")
        for row in table:
            shown.add_row(*row)
        Console(width=150).print(shown)
    for i, point in enumerate(CONTRACT, 1):
        print(f"{i:2} {point}")
    for (library, name), report in reports.items():
        for reason in _reasons(report):
            print(f"{library} {name}: {reason}")


if __name__ == "__main__":
    main()
