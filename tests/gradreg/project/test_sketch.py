"""Frequent Directions: its error bound, what it keeps exactly, and the bases drawn from it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gradreg.project.level import NullSpaceProjector
from gradreg.project.selection import Selection
from gradreg.project.sketch import Sketch
from gradreg.project.subspace import SecondMoment

CPU = torch.device("cpu")
DOUBLE = [torch.float64, torch.complex128]
seeds = st.integers(0, 2**31)


def sketch_of(rows, length, dtype=torch.float64, step=7, weights=None):
    sketch = Sketch(1, rows.shape[1], CPU, length, dtype)
    for i in range(0, len(rows), step):
        part = rows[i : i + step, None, None, :]
        sketch.add(part, None if weights is None else weights[i : i + step])
    return sketch


def gram(rows):
    return rows.mH @ rows


def kept(sketch):
    return gram(sketch.buffer[0, : sketch.filled])


def rows_with_decay(n, d, decay, dtype):
    return torch.randn(n, d, dtype=dtype) * decay ** torch.arange(d)


def assert_within_bound(exact, rows, sketch):
    """0 <= AᴴA - BᴴB <= ‖A - A_k‖² / (l - k), for each k < l."""
    error = torch.linalg.eigvalsh(exact - kept(sketch))
    energy = torch.linalg.svdvals(rows).square()
    assert error[0] > -1e-12 * energy.sum()
    for k in range(sketch.length):
        assert error[-1] <= energy[k:].sum() / (sketch.length - k) + 1e-12 * energy.sum()


@given(seeds, st.integers(2, 9), st.floats(0.3, 1.0), st.sampled_from(DOUBLE))
def test_the_error_bound(seed, length, decay, dtype):
    torch.manual_seed(seed)
    rows = rows_with_decay(60, 12, decay, dtype)
    sketch = sketch_of(rows, length, dtype)
    assert_within_bound(gram(rows), rows, sketch)
    sketch.compress()
    assert sketch.filled < length
    assert_within_bound(gram(rows), rows, sketch)


def test_many_weak_rows_are_not_forgotten_for_one_strong():
    """Where leaving out the least directions, without shrinking the others, breaks the bound."""
    rows = torch.zeros(1001, 3).double()
    rows[0, 0], rows[1:, 1] = 10, 1
    assert_within_bound(gram(rows), rows, sketch_of(rows, 2))


@given(seeds, st.integers(2, 9), st.floats(0, 1), st.floats(0.3, 1.0))
def test_the_bound_survives_merging_forgetting_and_weights(seed, length, forgetting, decay):
    torch.manual_seed(seed)
    first, second = (rows_with_decay(40, 10, decay, torch.float64) for _ in range(2))
    weights = torch.rand(40)
    sketch = sketch_of(first, length)
    sketch.merge(sketch_of(second, length, weights=weights), forgetting)
    rows = torch.cat([forgetting**0.5 * first, weights.double().sqrt()[:, None] * second])
    assert_within_bound(gram(rows), rows, sketch)
    torch.testing.assert_close(sketch.energy, rows.square().sum()[None])
    torch.testing.assert_close(sketch.count, forgetting * 40 + weights.double().sum())


@given(seeds, st.integers(2, 9))
def test_rows_of_low_rank_are_kept_exactly(seed, length):
    torch.manual_seed(seed)
    rows = torch.randn(80, length - 1).double() @ torch.randn(length - 1, 20).double()
    torch.testing.assert_close(kept(sketch_of(rows, length)), gram(rows), atol=1e-9, rtol=1e-9)


def test_memory_does_not_grow_and_broken_rows_are_left_out():
    rows = torch.randn(500, 6).double()
    rows[3, 2] = torch.nan
    sketch = sketch_of(rows, 4)
    assert sketch.buffer.shape == (1, 8, 6)
    assert sketch.count == 499
    assert sketch.buffer.isfinite().all()


@given(seeds, st.sampled_from(DOUBLE), st.booleans(), st.sampled_from([None, 1, 3]))
def test_bases_of_sketches_are_those_of_moments(seed, dtype, with_signal, rank):
    """Where the sketch is exact; two groups, the same rows to both kinds."""
    torch.manual_seed(seed)
    selection = Selection(energy=0.99, rank=rank, max_fraction=0.5, dominance=0.5)
    summaries = []
    for make in (SecondMoment, Sketch):
        torch.manual_seed(seed)
        pair = []
        for strength in (1.0, 3.0):
            extra = {"dtype": dtype} if make is SecondMoment else {"rows": 8, "dtype": dtype}
            summary = make(2, 15, CPU, **extra)
            basis = torch.randn(2, 4, 15, dtype=dtype)
            for _ in range(5):
                x = strength * torch.einsum("nr,grd->ngd", torch.randn(9, 4).to(dtype), basis)
                summary.add(x[None])
            pair.append(summary)
        summaries.append((pair[0], pair[1] if with_signal else None))
    exact, sketched = (selection.basis(*pair) for pair in summaries)
    assert exact.shape == sketched.shape
    assert exact.shape[-1] > 0
    torch.testing.assert_close(exact @ exact.mH, sketched @ sketched.mH, atol=1e-6, rtol=0)


def test_too_large_features_are_sketched_and_projected():
    torch.manual_seed(0)
    model = nn.Conv1d(6, 4, 5).double()
    opt = NullSpaceProjector(
        torch.optim.Adam(model.parameters()), model, max_size=29, sketch_size=8, energy=1.0
    )
    noise = (torch.randn(2, 3).double() @ torch.randn(3, 30).double()).view(2, 6, 5)
    for _ in range(30):
        with opt.observe_noise():
            model(noise)
    [weight] = opt._weights.values()
    assert isinstance(weight.noise, Sketch)
    before = model(noise).detach()
    start = model.weight.detach().clone()
    for _ in range(3):
        opt.zero_grad()
        model(torch.randn(3, 6, 9).double())[..., 1:].square().sum().backward()
        model.bias.grad = None
        opt.step()
    torch.testing.assert_close(model(noise), before)
    assert (model.weight - start).norm() > 1e-4
    exact = NullSpaceProjector(torch.optim.Adam(model.parameters()), model, max_size=30)
    with exact.observe_noise():
        model(noise)
    assert isinstance(next(iter(exact._weights.values())).noise, SecondMoment)


def test_sketches_go_through_the_state_dict():
    torch.manual_seed(0)
    model = nn.Linear(12, 3)

    def projector(**options):
        return NullSpaceProjector(torch.optim.SGD(model.parameters(), lr=0.1), model, **options)

    opt = projector(max_size=4, sketch_size=3)
    with opt.observe_noise():
        model(torch.randn(40, 12))
    other = projector()  # a loaded summary keeps its type
    other.load_state_dict(opt.state_dict())
    for one in (opt, other):
        torch.manual_seed(1)
        with one.observe_noise():
            model(torch.randn(40, 12))
    assert torch.equal(opt.basis(model.weight), other.basis(model.weight))


@pytest.mark.parametrize("options", [{"sketch_size": 1}, {"max_size": -1}, {"rank": -1}])
def test_sizes_out_of_range_are_named(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        NullSpaceProjector(torch.optim.SGD([torch.zeros(1)]), None, **options)
