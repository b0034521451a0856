"""Landscape level: the sharpness of the loss at the present weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradreg.buffers import unchanged_buffers


@dataclass(frozen=True)
class Sharpness:
    """The sharpness of a loss.

    Args:
        eigenvalue: largest eigenvalue of the Hessian.
        ascent: L(w + rho·g/‖g‖) - L(w), the rise of the loss over one ascent step; 0 if g = 0.
        loss: L(w).
        converged: whether the eigenvalue's residual is within the tolerance.
        residual: ‖H v - eigenvalue·v‖ for the unit vector v found.
        products: number of Hessian-vector products computed.
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
    r"""Measure the Hessian's largest eigenvalue, and the rise of the loss within radius rho.

    The eigenvalue is computed by Lanczos' method with full reorthogonalisation. For Krylov vectors
    Q of a random start and :math:`T = Q^T H Q` with top eigenpair (θ, s), the residual of θ is
    :math:`|\beta_k s_k|`. It has converged when that is within `tolerance` · max|λ(T)|. At most
    `max_products` copies of the parameters are kept.

    Gradients, running statistics, random states and parameters are the same afterwards. All
    evaluations of the loss use the same random numbers (dropout).

    With a one-pass smoother in the chain, measure inside `with opt.unperturbed():`, since the
    model holds perturbed weights between steps.

    Args:
        loss: runs forward and returns the loss, a scalar, without backward. Its operations must
            be twice differentiable.
        parameters: the parameters of the Hessian; those that need no gradient are left out.
        rho: radius of the ascent step.
        tolerance: relative residual at which to stop.
        max_products: largest number of Hessian-vector products.
        generator: draws the start, on the CPU; seeded with 0 if None.

    Raises:
        ValueError: rho, tolerance or max_products out of range, no parameters, or a loss that is
            not a scalar, has no graph, or calls backward.

    Example:
        >>> import torch
        >>> from gradreg.diagnostics import sharpness
        >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> result = sharpness(lambda: (w * w * torch.tensor([0.5, 2.0])).sum(), [w])
        >>> round(result.eigenvalue, 4), result.converged, result.products
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
    with torch.enable_grad(), torch.random.fork_rng(devices), unchanged_buffers():
        with torch.random.fork_rng(devices):
            start_loss = _loss(loss, params)
        grads = torch.autograd.grad(start_loss, params, create_graph=True, materialize_grads=True)
        rise = _ascent(loss, params, grads, rho) - start_loss.item() if rho else 0.0
        curved = [(g, p) for g, p in zip(grads, params, strict=True) if g.requires_grad]
        if not curved:  # a loss linear in the parameters
            return Sharpness(0.0, rise, start_loss.item(), True, 0.0, 0)

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
    return Sharpness(value, rise, start_loss.item(), converged, residual, products)


def _loss(loss: Callable[[], Tensor], params: Sequence[Tensor]) -> Tensor:
    before = [(p.grad, None if p.grad is None else p.grad.detach().clone()) for p in params]
    value = loss()
    changed = False
    for p, (gradient, copy) in zip(params, before, strict=True):
        if p.grad is not gradient or (copy is not None and not torch.equal(p.grad, copy)):  # type: ignore[arg-type]
            changed = True
            p.grad = gradient if gradient is None else gradient.detach().copy_(copy)  # type: ignore[arg-type]
    if changed:
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
    """Return the loss at w + rho·g/‖g‖; the parameters are restored from a copy."""
    norm = torch.stack([g.detach().norm().to(params[0].device) for g in grads]).norm()
    scale = torch.where(norm > 0, rho / norm, 0)
    clean = [p.detach().clone() for p in params]
    # Through `.data`, since the graph of the Hessian is kept and its values are restored.
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
    """Return the largest eigenvalue, its residual, the number of products, and convergence."""
    basis = [start / start.norm()]
    diagonal: list[float] = []
    off: list[float] = []
    value = residual = 0.0
    floor = torch.finfo(start.dtype).eps
    while len(diagonal) < min(max_products, start.numel()):
        with torch.enable_grad():
            image = product(basis[-1]).to(start)
        diagonal.append(float(image @ basis[-1]))
        vectors_so_far = torch.stack(basis)
        for _ in range(2):  # after one pass rounding errors remain
            image = image - (vectors_so_far @ image) @ vectors_so_far
        beta = float(image.norm())
        values, vectors = torch.linalg.eigh(_tridiagonal(diagonal, off))
        scale = float(values.abs().max())
        value, residual = float(values[-1]), beta * abs(float(vectors[-1, -1]))
        if not math.isfinite(value):
            break
        # If the image is within the Krylov space, that is invariant and the value exact.
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
