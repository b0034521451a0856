"""State dicts written before the levels became packages still load."""

from pathlib import Path

import pytest
import torch

import gradreg

STATES = Path(__file__).parent / "gradreg_states.pt"
SMOOTH = {
    "two passes": {"rho": 0.05, "every": 2, "perturbation": gradreg.Friendly()},
    "one pass": {"one_pass": True},
}


def contents(value):
    """Return nested containers with tensors as lists, for comparison."""
    if isinstance(value, dict):
        return {key: contents(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [contents(item) for item in value]
    if isinstance(value, torch.Tensor):
        return str(value.dtype), value.nan_to_num(-1.0).tolist()
    return value


@pytest.mark.parametrize("name", SMOOTH)
def test_a_state_dict_of_the_version_before_loads(name):
    saved = torch.load(STATES, weights_only=True)[name]
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
    opt = gradreg.regularize(
        torch.optim.AdamW(model.parameters()),
        model,
        mask={
            "prior": gradreg.WeakAmplitude(0.0, 3.0, adaptive=0.8),
            "gradient_prior": gradreg.NormOutlier(window=3, warmup=1),
        },
        smooth=SMOOTH[name],
        project={"energy": 0.9, "max_size": 3, "sketch_size": 2, "bias": True},
    )
    model.load_state_dict(saved["model"])
    opt.load_state_dict(saved["optimizer"])
    assert contents(opt.state_dict()) == contents(saved["optimizer"])
    assert opt.stats.steps == 3
    assert opt.basis(model[0].weight).shape[-1] > 0

    def closure():
        opt.zero_grad()
        out, _ = opt.verify(model(torch.ones(2, 4)))
        loss = out.square().mean()
        loss.backward()
        return loss

    opt.step(closure)
    assert opt.stats.steps == 4
