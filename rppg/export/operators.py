"""Operators for the export: tracing with symbolic lengths, and decompositions for ONNX.

`SymbolicLengths` is for tracing. `DECOMPOSITIONS` then replaces operators that ONNX lacks, or that
not all runtimes support:

- the Fourier transform of T samples is a product with the matrices of cos 2πkt/T and sin 2πkt/T,
  which the graph computes from T;
- a small symmetric positive definite system is solved by unrolled Gauss–Jordan elimination: for
  each pivot i, column i is eliminated from all other rows; finally each row is divided by its
  pivot. Such systems need no row exchanges;
- the median is taken from the sorted values;
- the sigmoid is written out. onnxruntime's is inaccurate for small values, and a region with little
  skin has only such weights.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten


class SymbolicLengths(TorchFunctionMode):
    """A mode in which functions accept symbolic lengths where PyTorch needs integers.

    `min` and `max` return the argument that is the result for every length. `rfftfreq` and
    `hann_window`, which accept only integers, are computed from other functions.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of PyTorch, or its replacement."""
        options = dict(kwargs or {})
        if any(isinstance(value, torch.SymInt) for value in args):
            if func is torch.sym_min:
                return args[0] if args[0] <= args[1] else args[1]
            if func is torch.sym_max:
                return args[0] if args[0] >= args[1] else args[1]
            if func is torch.fft.rfftfreq:
                # Rounded as PyTorch does: a line may lie exactly on the edge of the band.
                count = torch.full((1,), args[0], dtype=torch.float64)
                step = 1 / (count * torch.tensor(args[1], dtype=torch.float64))
                return torch.arange(args[0] // 2 + 1, **options) * step.float()
            if func is torch.hann_window:
                steps = torch.arange(args[0], **options)
                return 0.5 - 0.5 * torch.cos(steps * (2 * torch.pi) / args[0])
        return func(*args, **options)


def fourier(count: int, time: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos and sin `(count, time)` of 2πkt / time, with kt reduced modulo `time` exactly."""
    k = torch.arange(count, device=like.device)[:, None]
    t = torch.arange(time, device=like.device)
    product = (k * t).remainder(t[-1:] + 1)
    angle = product.to(like.real.dtype) * (2 * torch.pi / time)
    return angle.cos(), angle.sin()


def rfft(x: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor:
    """Compute `torch.fft.rfft` over the whole last dimension."""
    time = x.shape[-1]
    cos, sin = fourier(time // 2 + 1, time, x)
    return torch.complex(x @ cos.mT, -(x @ sin.mT))


def irfft(x: Tensor, n: int, dim: int = -1, norm: str | None = None) -> Tensor:
    """Compute `torch.fft.irfft` over the last dimension, to length `n`."""
    count = x.shape[-1]
    cos, sin = fourier(count, n, x)
    k = torch.arange(count, device=x.device)
    twice = torch.where((k == 0) | (2 * k == n), 1.0, 2.0)  # the other half of the spectrum
    real, imaginary = torch.view_as_real(x).unbind(-1)
    return (real * twice / n) @ cos - (imaginary * twice / n) @ sin


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Multiply a complex spectrum by real weights; other products are not decomposed."""
    if a.is_complex() and not b.is_complex():
        real, imaginary = torch.view_as_real(a).unbind(-1)
        return torch.complex(real * b, imaginary * b)
    return NotImplemented


def solve(a: Tensor, b: Tensor, *, left: bool = True) -> Tensor:
    """Solve a x = b for symmetric positive definite `a` `(..., N, N)` and `b` `(..., N, K)`."""
    size = a.shape[-1]
    rows = torch.cat([a, b.expand(*a.shape[:-1], -1)], -1)
    eye = torch.eye(size, dtype=a.dtype, device=a.device)
    for i in range(size):
        pivot = rows[..., i : i + 1, :] / rows[..., i : i + 1, i : i + 1]
        rows = rows - rows[..., i : i + 1] * (1 - eye[:, i : i + 1]) * pivot
    return rows[..., size:] / rows.diagonal(dim1=-2, dim2=-1)[..., None]


def median(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Compute `torch.median` over one dimension: the values, and their indices."""
    values, indices = x.sort(dim)
    middle = (x.shape[dim] - 1) // 2
    return values.select(dim, middle), indices.select(dim, middle)


def sigmoid(x: Tensor) -> Tensor:
    """Compute 1 / (1 + exp(−x)), accurate for small values."""
    return 1 / (1 + torch.exp(-x))


DECOMPOSITIONS: Mapping[Any, Callable[..., Any]] = {
    aten.fft_rfft.default: rfft,
    aten.fft_irfft.default: irfft,
    aten.mul.Tensor: multiply,
    aten.linalg_solve.default: solve,
    aten.median.dim: median,
    aten.sigmoid.default: sigmoid,
}
"""The argument of `ExportedProgram.run_decompositions`."""
