"""Transposed convolutions, complex weights, and what else layers may be fed with."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gradreg.project.level import NullSpaceProjector
from gradreg.project.subspace import complement
from gradreg.project.unfold import LAYERS, feature_chunks, feature_shape
from gradreg.project.weight_as_matrix import view_as_matrix, view_as_weight

TRANSPOSED = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]
seeds = st.integers(0, 2**31)


@st.composite
def transposed_layers(draw):
    n = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 2))
    stride, dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    extra = draw(st.integers(0, max(stride, dilation) - 1))
    kernel = [draw(st.integers(1, 3)) for _ in range(n)]
    padding = draw(st.integers(0, 1))
    return TRANSPOSED[n - 1](
        3 * groups, 2 * groups, kernel, stride, padding, extra, groups, False, dilation
    )


def scattered_output(layer, responses, size):
    """Add up what each input position adds to each output position: the definition of the layer.

    Args:
        responses: (batch, positions..., groups, out/groups, taps...).
        size: of the output.
    """
    n = len(layer.kernel_size)
    batch, positions = responses.shape[0], responses.shape[1 : 1 + n]
    out = torch.zeros(batch, layer.out_channels, *size, dtype=responses.dtype)
    for position in (
        torch.cartesian_prod(*[torch.arange(p) for p in positions]).view(-1, n).tolist()
    ):
        taps = torch.cartesian_prod(*[torch.arange(k) for k in layer.kernel_size]).view(-1, n)
        for tap in taps.tolist():
            at = [
                p * layer.stride[i] - layer.padding[i] + t * layer.dilation[i]
                for i, (p, t) in enumerate(zip(position, tap, strict=True))
            ]
            if all(0 <= a < s for a, s in zip(at, size, strict=True)):
                response = responses[(slice(None), *position, ..., *tap)]
                out[(slice(None), slice(None), *at)] += response.flatten(1)
    return out


@given(transposed_layers(), seeds, st.sampled_from([1, 2**22]))
def test_a_transposed_convolution_adds_up_its_unfolded_linear_map(layer, seed, limit):
    layer.double()
    torch.manual_seed(seed)
    n = len(layer.kernel_size)
    x = torch.randn(2, layer.in_channels, *[3, 4, 3][:n], dtype=torch.float64)
    features = torch.cat(list(feature_chunks(layer, x, limit)), dim=1)
    groups, d = feature_shape(layer)
    assert features.shape[2:] == (groups, d)
    matrix = view_as_matrix(layer.weight, groups, None, True)
    responses = torch.einsum("bpgd,god->bpgo", features, matrix)
    responses = responses.reshape(
        2, *x.shape[2:], groups, layer.out_channels // groups, *layer.kernel_size
    )
    expected = layer(x)
    torch.testing.assert_close(scattered_output(layer, responses, expected.shape[2:]), expected)
    assert torch.equal(view_as_weight(matrix, layer.weight.shape, None, True), layer.weight)


@given(transposed_layers(), seeds)
def test_the_output_of_a_transposed_convolution_for_noise_stays(layer, seed):
    layer.double()
    torch.manual_seed(seed)
    n = len(layer.kernel_size)
    size = [4, 3, 3][:n]
    opt = NullSpaceProjector(torch.optim.Adam(layer.parameters(), lr=0.1), layer, energy=1.0)
    direction = torch.randn(layer.in_channels, dtype=torch.float64)
    noise = torch.randn(2, 1, *size).double() * direction.view(-1, *[1] * n)
    with opt.observe_noise():
        before = layer(noise)
    x = torch.randn(2, layer.in_channels, *size).double()
    other = layer(x).detach()
    opt.zero_grad()
    layer(x).square().sum().backward()
    opt.step()
    torch.testing.assert_close(layer(noise), before, rtol=0, atol=1e-12)
    assert not torch.allclose(layer(x), other) or not other.any()


@pytest.mark.parametrize("layer", LAYERS)
def test_unbatched_inputs_and_empty_batches(layer):
    module = layer(4, 2) if layer is nn.Linear else layer(4, 2, 2)
    n = 0 if layer is nn.Linear else len(module.kernel_size)
    shape = (4,) if n == 0 else (4, *[3] * n)
    [one] = feature_chunks(module, torch.ones(shape))
    [batched] = feature_chunks(module, torch.ones(1, *shape))
    assert torch.equal(one.flatten(0, 1), batched.flatten(0, 1))
    assert list(feature_chunks(module, torch.ones(0, *shape))) == []
    opt = NullSpaceProjector(torch.optim.SGD(module.parameters()), module)
    with opt.observe_noise():
        module(torch.ones(0, *shape))
    assert opt.basis(module.weight).shape[-1] == 0
    with opt.observe_noise():
        module(torch.ones(3, *shape))
    assert opt.basis(module.weight).shape[-1] == 1


@pytest.mark.parametrize("make", [lambda: nn.Linear(6, 3), lambda: nn.Conv1d(2, 3, 3)])
@pytest.mark.parametrize("mode", ["freeze", "release"])
def test_complex_weights_keep_their_response_to_complex_noise(make, mode):
    torch.manual_seed(0)
    layer = make().to(torch.complex128)
    opt = NullSpaceProjector(
        torch.optim.SGD(layer.parameters(), lr=0.1), layer, energy=1.0, bias=True, mode=mode
    )
    shape = (2, 6) if isinstance(layer, nn.Linear) else (1, 2, 4)
    noise = torch.randn(shape, dtype=torch.complex128)
    with opt.observe_noise():
        before = layer(noise)
    for parameter in layer.parameters():
        parameter.grad = torch.randn_like(parameter)
    start = layer.weight.detach().clone()
    opt.step()
    assert not torch.equal(layer.weight, start)
    after = layer(noise)
    if mode == "freeze":
        torch.testing.assert_close(after, before)
    else:
        assert (after.abs() <= before.abs() + 1e-12).all()


@given(seeds, st.sampled_from([torch.float32, torch.float64, torch.complex64]))
def test_a_split_is_exact_even_where_nearly_all_is_taken_away(seed, dtype):
    torch.manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(2, 30, 4, dtype=dtype)).Q
    inside = 1e6 * torch.randn(2, 5, 4, dtype=dtype) @ basis.mH
    change = inside + torch.randn(2, 5, 30, dtype=dtype)
    rest, response = complement(change.clone(), basis)
    eps = torch.finfo(dtype).eps
    assert (rest @ basis).norm() <= 8 * eps * rest.norm()
    assert (rest + response @ basis.mH - change).norm() <= 4 * eps * change.norm()
