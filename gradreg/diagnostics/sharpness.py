"""Landscape level: how sharp is the loss at the present weights?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradreg.running_statistics import unchanged_statistics


@dataclass(frozen=True)
class Sharpness:
    """How sharp the loss is.

    Args:
        eigenvalue: largest eigenvalue of the Hessian.
        ascent: L(w + rho·g/‖g‖) - L(w), the rise of the loss over one ascent step; 0 if g = 0.
        loss: L(w).
        converged: whether the eigenvalue's residual is within the tolerance.
        residual: ‖H v - eigenvalue·v‖ for the unit vector v found.
        products: number of Hessian-vector products made.
    """

    eigenvalue: float
    ascent: float
    loss: float
    converged: bool
    residual: float
    products: int


def sharpness(
    loss: Callable[[], Tensor],
    parameters: Iterable[Tensor],
    *,
    rho: float = 0.05,
    tolerance: float = 1e-3,
    max_products: int = 64,
    generator: torch.Generator | None = None,
) -> Sharpness:
    r"""Measure the Hessian's largest eigenvalue, and how far the loss rises within radius rho.

    The eigenvalue is Lanczos', with full reorthogonalisation: for Krylov vectors Q of a random
    start and :math:`T = Q^T H Q` with top eigenpair (θ, s), the residual of θ is
    :math:`|\beta_k s_k|`, and it has converged when that is within `tolerance` · max|λ(T)|. It
    takes `max_products` copies of the parameters at most.

    Nothing is left behind: no gradient, running statistic, random state or moved parameter; the
    loss is drawn with the same random numbers (dropout) in all evaluations.

    Measure where the weights are those to judge: with a one-pass smoother in the chain, inside
    `with opt.unperturbed():`, for between steps the model holds perturbed weights.

    Args:
        loss: runs forward and returns the loss, a scalar, without backward. Its operations must
            be twice differentiable.
        parameters: which to take the Hessian over; those that need no gradient are left out.
        rho: radius of the ascent step.
        tolerance: relative residual at which to stop.
        max_products: largest number of Hessian-vector products.
        generator: draws the start, on the CPU; seeded with 0 if None.

    Raises:
        ValueError: rho, tolerance or max_products out of range, no parameters, or a loss that is
            no scalar, has no graph, or calls backward.

    Example:
        >>> import torch
        >>> from gradreg.diagnostics import sharpness
        >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> found = sharpness(lambda: (w * w * torch.tensor([0.5, 2.0])).sum(), [w])
        >>> round(found.eigenvalue, 4), found.converged, found.products
        (4.0, True, 2)

    References:
        B. Ghorbani, S. Krishnan, Y. Xiao, An Investigation into Neural Net Optimization via
        Hessian Eigenvalue Density, 2019; P. Foret et al., Sharpness-Aware Minimization, 2021.
    """
    params = [p for p in parameters if p.requires_grad]
    if not params:
        raise ValueError("expected parameters that require a gradient, found none")
    if not (math.isfinite(rho) and rho >= 0):
        raise ValueError(f"expected a finite radius rho >= 0, found {rho}")
    if not tolerance > 0 or max_products < 1:
        raise ValueError(
            "expected tolerance > 0 and max_products >= 1, found "
            f"tolerance = {tolerance} and max_products = {max_products}"
        )
    devices = [str(d) for d in {p.device for p in params if p.device.type == "cuda"}]
    with torch.enable_grad(), torch.random.fork_rng(devices), unchanged_statistics():
        with torch.random.fork_rng(devices):
            here = _loss(loss, params)
        grads = torch.autograd.grad(here, params, create_graph=True, materialize_grads=True)
        rise = _ascent(loss, params, grads, rho) - here.item() if rho else 0.0
        curved = [(g, p) for g, p in zip(grads, params, strict=True) if g.requires_grad]
        if not curved:  # a loss linear in the parameters
            return Sharpness(0.0, rise, here.item(), True, 0.0, 0)

        def product(vector: Tensor) -> Tensor:
            return _flat(
                torch.autograd.grad(
                    grads_,
                    params,
                    [
                        v
                        for v, g in zip(_like(vector, params), grads, strict=True)
                        if g.requires_grad
                    ],
                    retain_graph=True,
                    materialize_grads=True,
                )
            )

        grads_ = [g for g, _ in curved]
        generator = torch.Generator().manual_seed(0) if generator is None else generator
        size = sum(p.numel() for p in params)
        start = torch.randn(size, generator=generator, dtype=torch.float64)
        start = start.to(params[0].device, _widest(params))
        value, residual, products, converged = _lanczos(product, start, tolerance, max_products)
    return Sharpness(value, rise, here.item(), converged, residual, products)


def _loss(loss: Callable[[], Tensor], params: Sequence[Tensor]) -> Tensor:
    before = [(p.grad, None if p.grad is None else p.grad.detach().clone()) for p in params]
    value = loss()
    touched = False
    for p, (gradient, copy) in zip(params, before, strict=True):
        if p.grad is not gradient or (copy is not None and not torch.equal(p.grad, copy)):  # type: ignore[arg-type]
            touched = True
            p.grad = gradient if gradient is None else gradient.detach().copy_(copy)  # type: ignore[arg-type]
    if touched:
        raise ValueError("expected a loss without backward, found one that writes gradients")
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise ValueError(
            f"expected the loss as a scalar tensor with its graph, found {found}"
            f"{' without a graph' if isinstance(value, Tensor) and not value.requires_grad else ''}"
            ": return the mean, not detached"
        )
    return value


@torch.no_grad()
def _ascent(
    loss: Callable[[], Tensor], params: Sequence[Tensor], grads: Sequence[Tensor], rho: float
) -> float:
    """Return the loss at w + rho·g/‖g‖; the parameters come back from a copy."""
    norm = torch.stack([g.detach().norm().to(params[0].device) for g in grads]).norm()
    scale = torch.where(norm > 0, rho / norm, 0)
    clean = [p.detach().clone() for p in params]
    # Through `.data`: the graph of the Hessian is kept, and the values in it come back.
    try:
        for p, g in zip(params, grads, strict=True):
            p.data.add_(g.detach() * scale.to(p))
        return float(loss())
    finally:
        for p, copy in zip(params, clean, strict=True):
            p.data.copy_(copy)


@torch.no_grad()
def _lanczos(
    product: Callable[[Tensor], Tensor], start: Tensor, tolerance: float, max_products: int
) -> tuple[float, float, int, bool]:
    """Return the largest eigenvalue, its residual, the products made, whether it converged."""
    basis = [start / start.norm()]
    diagonal: list[float] = []
    off: list[float] = []
    value = residual = 0.0
    floor = torch.finfo(start.dtype).eps
    while len(diagonal) < min(max_products, start.numel()):
        with torch.enable_grad():
            image = product(basis[-1]).to(start)
        diagonal.append(float(image @ basis[-1]))
        known = torch.stack(basis)
        for _ in range(2):  # once loses orthogonality to rounding
            image = image - (known @ image) @ known
        beta = float(image.norm())
        values, vectors = torch.linalg.eigh(_tridiagonal(diagonal, off))
        scale = float(values.abs().max())
        value, residual = float(values[-1]), beta * abs(float(vectors[-1, -1]))
        if not math.isfinite(value):
            break
        # An image within the Krylov space: that is invariant, and the value exact.
        if residual <= tolerance * scale or beta <= floor * scale * start.numel() ** 0.5:
            return value, residual, len(diagonal), True
        off.append(beta)
        basis.append(image / beta)
    return value, residual, len(diagonal), residual <= tolerance * abs(value)


def _tridiagonal(diagonal: list[float], off: list[float]) -> Tensor:
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    if off:
        side = torch.tensor(off, dtype=torch.float64)
        matrix += torch.diag(side, 1) + torch.diag(side, -1)
    return matrix


def _widest(params: Sequence[Tensor]) -> torch.dtype:
    dtype = torch.float32
    for p in params:
        dtype = torch.promote_types(dtype, p.dtype)
    return dtype


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    dtype, device = _widest(tensors), tensors[0].device
    return torch.cat([t.detach().reshape(-1).to(device, dtype) for t in tensors])


def _like(vector: Tensor, params: Sequence[Tensor]) -> list[Tensor]:
    parts = vector.split([p.numel() for p in params])
    return [part.view(p.shape).to(p) for part, p in zip(parts, params, strict=True)]
