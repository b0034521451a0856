"""Features of torch's modules (EMA, checkpointing, tied or parametrized weights), and wrappers."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.checkpoint import checkpoint

import gradreg

LEVELS = [
    ("mask",),
    ("smooth",),
    ("one pass",),
    ("project",),
    ("project", "smooth", "mask"),
    ("project", "one pass", "mask"),
]


def same_weights(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def wrap(lab, model, levels, opt=None):
    opt = torch.optim.AdamW(model.parameters(), lr=0.01) if opt is None else opt
    for level in levels:
        opt = lab.WRAPPERS[level](opt, model)
    return opt


def step_on(lab, model, opt, x, y, call=None):
    def closure():
        opt.zero_grad()
        out = (call or model)(x)
        if lab.has(opt, gradreg.PostVerificationMask):
            out, _ = opt.verify(out, evidence=(out - y).detach().abs())
        loss = (out - y).square().mean()
        loss.backward()
        return loss

    return opt.step(closure)


# ---- Averages of the weights --------------------------------------------------------------------


@pytest.mark.parametrize("levels", LEVELS)
def test_an_ema_averages_the_clean_weights(lab, levels):
    model = lab.make_net()
    opt = lab.stack(model, "AdamW", levels)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    expected = None
    for step in range(5):
        lab.train(model, opt, range(step, step + 1))
        with opt.unperturbed():
            ema.update_parameters(model)
            clean = [p.detach().clone() for p in model.parameters()]
        expected = (
            clean
            if step == 0
            else [0.9 * a + 0.1 * b for a, b in zip(expected, clean, strict=True)]
        )
    for p, q in zip(ema.module.parameters(), expected, strict=True):
        torch.testing.assert_close(p, q)
    # An observation or a step leaves the average alone, and it isn't the optimizer's.
    before = [p.detach().clone() for p in ema.parameters()]
    lab.train(model, opt, range(6, 8))
    assert lab.same(before, list(ema.parameters()))


@pytest.mark.parametrize("levels", LEVELS)
def test_batch_statistics_are_renewed_at_the_clean_weights(lab, levels):
    model = lab.make_net()
    opt = lab.stack(model, "AdamW", levels)
    lab.train(model, opt, range(4))
    batches = [lab.batch(step)[0] for step in range(3)]
    with opt.unperturbed():
        update_bn(batches, model)
        convolved = torch.cat([model.conv(x).detach() for x in batches])
    torch.testing.assert_close(model.norm.running_mean, convolved.mean((0, 2)))
    lab.train(model, opt, range(4, 6))


# ---- Forward passes of other kinds --------------------------------------------------------------


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(lab, levels, reentrant):
    class Net(nn.Module):
        def __init__(self, checkpointing):
            super().__init__()
            self.first = nn.Linear(6, 16)
            self.block = nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.3), nn.Tanh())
            self.last = nn.Linear(16, 2)
            self.checkpointing = checkpointing

        def forward(self, x):
            x = self.first(x)
            if self.checkpointing:
                return self.last(checkpoint(self.block, x, use_reentrant=reentrant))
            return self.last(self.block(x))

    models = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = Net(checkpointing)
        opt = wrap(lab, model, levels)
        for step in range(4):
            if step == 1 and "project" in levels:
                with opt.observe_noise():
                    model(torch.randn(4, 6))
            step_on(lab, model, opt, torch.randn(8, 6), torch.randn(8, 2))
        models.append(model)
    assert same_weights(*models)


@pytest.mark.parametrize("levels", LEVELS)
def test_functional_call(lab, levels):
    models = []
    for functional in (False, True):
        model = lab.make_net()
        opt = lab.stack(model, "AdamW", levels)

        def call(x, model=model):
            return torch.func.functional_call(model, dict(model.named_parameters()), (x,))

        for step in range(4):
            if step == 1 and "project" in levels:
                with opt.observe_noise():
                    (call if functional else model)(lab.batch(step)[0])
            step_on(lab, model, opt, *lab.batch(step), call=call if functional else None)
        models.append(model)
    assert same_weights(*models)


def test_other_weights_in_functional_call_are_refused_while_observing():
    layer = nn.Linear(3, 2)
    opt = gradreg.NullSpaceProjector(torch.optim.SGD(layer.parameters(), 0.1), layer)
    other = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}
    with pytest.raises(RuntimeError, match="was replaced"), opt.observe_noise():
        torch.func.functional_call(layer, other, (torch.ones(1, 3),))


@pytest.mark.parametrize("replay", [True, False])
def test_dropout_draws_the_same_mask_in_both_passes_where_asked(replay):
    model = nn.Sequential(nn.Linear(32, 32), nn.Dropout(0.5), nn.Linear(32, 1))
    opt = gradreg.PerturbationSmoother(
        torch.optim.SGD(model.parameters(), 0.1), rho=1e-3, replay_rng=replay
    )
    dropped = []
    model[1].register_forward_hook(lambda _, __, out: dropped.append(out == 0))

    def closure():
        opt.zero_grad()
        loss = model(torch.ones(4, 32)).square().mean()
        loss.backward()
        return loss

    opt.step(closure)
    assert torch.equal(*dropped) == replay


# ---- Tied weights -------------------------------------------------------------------------------


class Tied(nn.Module):
    """Embedding and output layer share their weight, as in language models."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.mix = nn.Linear(8, 8)
        self.out = nn.Linear(8, 12, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.out(torch.tanh(self.mix(self.embed(tokens))))


@pytest.mark.parametrize("levels", LEVELS)
def test_tied_weights_are_one_parameter(lab, levels):
    torch.manual_seed(0)
    model = Tied()
    opt = wrap(lab, model, levels)
    for step in range(4):
        if step % 2 == 0 and "project" in levels:
            with opt.observe_noise():
                model(torch.randint(12, (5,)))
        step_on(lab, model, opt, torch.randint(12, (16,)), torch.randn(16, 12))
    assert model.out.weight is model.embed.weight
    assert len(opt.parameters) == 3
    state = opt.state_dict()
    torch.manual_seed(0)
    other = Tied()
    resumed = wrap(lab, other, levels)
    with opt.unperturbed():
        opt.eval()
        other.load_state_dict(model.state_dict())
        resumed.load_state_dict(opt.state_dict())
    opt.train()
    resumed.train()
    assert same_weights(model, other)
    assert state.keys() == opt.state_dict().keys()


def test_a_weight_tied_to_two_layers_keeps_its_response_in_both(lab):
    torch.manual_seed(0)
    first, second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
    second.weight = first.weight
    model = nn.Sequential(first, nn.ReLU(), second)
    opt = gradreg.NullSpaceProjector(
        torch.optim.AdamW(model.parameters(), lr=0.1), model, energy=1.0, max_fraction=0.9
    )
    noise = torch.randn(1, 6)
    with opt.observe_noise():
        before = model(noise)
    step_on(lab, model, opt, torch.randn(8, 6), torch.randn(8, 6))
    torch.testing.assert_close(model(noise), before)


# ---- Parametrized weights -----------------------------------------------------------------------


PARAMETRIZATIONS = {
    "weight norm": nn.utils.parametrizations.weight_norm,
    "spectral norm": nn.utils.parametrizations.spectral_norm,
    "orthogonal": nn.utils.parametrizations.orthogonal,
}


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
@pytest.mark.parametrize("levels", [("mask",), ("smooth",), ("one pass",), ("smooth", "mask")])
def test_parametrized_weights_train(lab, name, levels):
    torch.manual_seed(0)
    model = nn.Sequential(PARAMETRIZATIONS[name](nn.Linear(6, 6)), nn.Tanh(), nn.Linear(6, 2))
    opt = wrap(lab, model, levels, torch.optim.SGD(model.parameters(), lr=0.05))
    x = torch.randn(16, 6)
    y = torch.tanh(x[:, :2])
    losses = [step_on(lab, model, opt, x, y).item() for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]
    with opt.unperturbed():
        weight = model[0].weight
        if name == "orthogonal":
            torch.testing.assert_close(weight @ weight.T, torch.eye(6), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_the_projector_refuses_a_parametrized_weight_and_can_leave_it_out(lab, name):
    model = nn.Sequential(PARAMETRIZATIONS[name](nn.Linear(6, 6)), nn.Tanh(), nn.Linear(6, 2))
    base = torch.optim.SGD(model.parameters(), lr=0.05)
    with pytest.raises(ValueError, match=r"layer '0' is parametrized.*exclude="):
        gradreg.NullSpaceProjector(base, model)
    opt = gradreg.NullSpaceProjector(base, model, exclude=["0"])
    with opt.observe_noise():
        model(torch.randn(2, 6))
    step_on(lab, model, opt, torch.randn(8, 6), torch.randn(8, 2))


OLDER_HOOKS = {
    "weight norm": nn.utils.weight_norm,
    "spectral norm": nn.utils.spectral_norm,
    "pruning": lambda layer: prune.l1_unstructured(layer, "weight", 2),
}


@pytest.mark.parametrize("name", OLDER_HOOKS)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_older_hooks_that_compute_a_weight_are_refused_and_can_be_left_out(lab, name):
    """The hooks of `torch.nn.utils`: the layer's weight is no parameter."""
    torch.manual_seed(0)
    model = nn.Sequential(OLDER_HOOKS[name](nn.Linear(6, 6)), nn.Tanh(), nn.Linear(6, 2))
    base = torch.optim.SGD(model.parameters(), lr=0.05)
    with pytest.raises(ValueError, match=r"layer '0' is computed from weight_.*exclude="):
        gradreg.NullSpaceProjector(base, model)
    opt = gradreg.NullSpaceProjector(base, model, exclude=["0"])
    with opt.observe_noise():
        model(torch.randn(2, 6))
    step_on(lab, model, opt, torch.randn(8, 6), torch.randn(8, 2))


# ---- Taking it off ------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", LEVELS)
def test_unwrap_leaves_the_model_and_the_bare_optimizer(lab, levels):
    model = lab.make_net()
    opt = lab.stack(model, "AdamW", levels)
    lab.train(model, opt, range(4))
    with opt.unperturbed():
        clean = [p.detach().clone() for p in model.parameters()]
    bare = opt.unwrap()
    assert type(bare) is torch.optim.AdamW
    assert lab.same(clean, list(model.parameters()))
    assert not any(
        hooks
        for module in model.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    )
    # It continues like the bare optimizer from this state.
    twin = lab.deepcopy(model)
    other = lab.stack(twin, "AdamW")
    other.load_state_dict(lab.deepcopy(bare.state_dict()))  # torch's own shares tensors
    lab.train(model, bare, range(4, 6))
    lab.train(twin, other, range(4, 6))
    assert same_weights(model, twin)
