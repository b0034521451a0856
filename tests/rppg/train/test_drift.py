"""Tethers and means of weights: closed forms; what training does with them; resuming."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import gradreg
from rppg.models.fcus import FcusNet, ModelConfig
from rppg.train.clips import ClipSet, cut_clips
from rppg.train.config import TrainConfig
from rppg.train.fcus import fit_fcus
from rppg.train.optimizer import physics_of
from rppg.train.steady import EpochMean, Tether


@pytest.fixture(scope="module")
def clip_set() -> ClipSet:
    from rppg.synthetic.cache import synthetic_recordings

    crops = [r.load_crops() for r in synthetic_recordings("mobile", "train", 4)]
    return cut_clips(crops, ModelConfig(), clip_s=5.0, stride_s=5.0)


def trained(clip_set: ClipSet, **fields: object) -> tuple[FcusNet, list[dict[str, torch.Tensor]]]:
    """The network at the end, and its weights as each step left them."""
    config = TrainConfig.model_validate({"clip_s": 5.0, "stride_s": 5.0, **fields})
    torch.manual_seed(0)
    net = FcusNet(config.model)
    seen: list[dict[str, torch.Tensor]] = []
    fit_fcus(net, clip_set, config, lambda _: seen.append(copy.deepcopy(net.state_dict())))
    return net, seen


@given(st.floats(0, 0.5), st.integers(1, 20))
def test_a_tether_pulls_by_its_share_of_the_way(share: float, steps: int) -> None:
    """Of a constant push per step, what is left is a geometric series."""
    p = torch.nn.Parameter(torch.full((3,), 5.0, dtype=torch.float64))
    tether = Tether([p], share)
    for _ in range(steps):
        with torch.no_grad():
            p += 1.0
        tether.pull()
    expected = sum((1 - share) ** k for k in range(1, steps + 1))
    torch.testing.assert_close(p.detach(), torch.full_like(p, 5.0 + expected))


@given(st.integers(1, 30), st.floats(0, 1), st.integers(0, 2**16))
def test_an_epoch_ends_with_the_mean_of_its_last_steps(steps: int, share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    p = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
    mean = EpochMean([p], steps, share)
    for _ in range(3):  # epochs: nothing of the one before counts
        walked = []
        for step in range(steps):
            with torch.no_grad():
                p += torch.randn(4, dtype=torch.float64, generator=generator)
            walked.append(p.detach().clone())
            mean.update(step)
        counted = walked[-max(1, round(share * steps)) :]
        torch.testing.assert_close(p.detach(), torch.stack(counted).mean(0))
    if share == 0:
        torch.testing.assert_close(p.detach(), walked[-1])


@pytest.mark.parametrize("stop", range(10))
def test_a_mean_goes_on_from_its_state(stop: int) -> None:
    steps = torch.randn(10, 4, generator=torch.Generator().manual_seed(1))

    def walk(interrupted: bool) -> torch.Tensor:
        p = torch.zeros(4)
        mean = EpochMean([p], 10, 0.5)
        for step, move in enumerate(steps):
            if interrupted and step == stop:
                kept = copy.deepcopy(mean.state())
                mean = EpochMean([p], 10, 0.5)
                mean.restore(kept)
            p += move
            mean.update(step)
        return p

    assert torch.equal(walk(True), walk(False))


def test_training_ends_with_the_mean_of_its_last_steps(clip_set: ClipSet) -> None:
    last, seen = trained(clip_set, averaged=0)
    mean, _ = trained(clip_set, averaged=0.5)
    half = seen[-round(len(seen) / 2) :]
    assert len(half) > 1
    for name, found in mean.state_dict().items():
        expected = torch.stack([weights[name] for weights in half]).mean(0)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert not torch.equal(torch.cat([p.flatten() for p in last.parameters()]),
                           torch.cat([p.flatten() for p in mean.parameters()]))  # fmt: skip


def test_a_tether_holds_the_physics_alone(clip_set: ClipSet) -> None:
    start = FcusNet(ModelConfig())

    def wandered(share: float) -> float:
        net, _ = trained(clip_set, tether=share, epochs=6, smooth=None)
        pairs = zip(physics_of(net), physics_of(start), strict=True)
        return sum(float((p - q).detach().abs()) for p, q in pairs)

    loose, held = wandered(0.0), wandered(0.2)
    assert held < 0.6 * loose
    assert len(physics_of(start)) == 7


def test_a_mean_keeps_what_the_projector_keeps() -> None:
    """What a layer answers to the noise that was observed is what it was."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 4, bias=False)
    noise = torch.randn(64, 3) @ torch.randn(3, 8)
    opt = gradreg.regularize(torch.optim.AdamW(layer.parameters(), lr=0.1), layer, project=1.0)
    with opt.observe_noise():
        before = layer(noise).detach()
    mean = EpochMean(list(layer.parameters()), 20, 0.5)
    start = layer.weight.detach().clone()
    for step in range(20):
        opt.zero_grad()
        layer(torch.randn(16, 8)).square().mean().backward()
        opt.step()
        mean.update(step)
    torch.testing.assert_close(layer(noise), before, atol=1e-4, rtol=1e-4)
    assert (layer.weight - start).norm() > 0.1
