"""Perturbations that 16-bit weights can't hold."""

import re
import warnings

import pytest
import torch
from torch import nn

from gradreg import OnePassSmoother, PerturbationSmoother

WARNING = r"perturbation moves \d+\.\d% of the 100\d{4} weights of 16 bits"


def train(kind, dtype, rho, steps=3):
    torch.manual_seed(0)
    model = nn.Linear(1000, 1000).to(dtype)
    opt = kind(torch.optim.SGD(model.parameters(), lr=0.0), rho)
    x = torch.randn(8, 1000).to(dtype)

    def closure():
        opt.zero_grad()
        model(x).square().mean().backward()

    for _ in range(steps):
        opt.step(closure)


@pytest.mark.parametrize("kind", [PerturbationSmoother, OnePassSmoother])
def test_an_offset_below_the_resolution_is_named_once(kind):
    with pytest.warns(UserWarning, match=WARNING) as caught:
        train(kind, torch.bfloat16, 0.005)
    [message] = [str(w.message) for w in caught if "perturbation" in str(w.message)]
    assert kind.__name__ in message
    assert float(re.search(r"moves (.*?)%", message)[1]) < 20


@pytest.mark.parametrize("kind", [PerturbationSmoother, OnePassSmoother])
@pytest.mark.parametrize(("dtype", "rho"), [(torch.bfloat16, 5.0), (torch.float32, 0.005)])
def test_other_offsets_are_not_warned_of(kind, dtype, rho):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(kind, dtype, rho)
