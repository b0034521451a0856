"""What the projector covers: attention, transformers' Conv1D, embeddings; and what it reports."""

import copy
import pickle
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradreg
from gradreg.project.level import NullSpaceProjector


def adamw(parameters, **options):
    return torch.optim.AdamW(parameters, **{"lr": 0.02, "weight_decay": 0.1, **options})


def low_rank(*shape, rank=1):
    """Return inputs whose rows lie in a subspace of a rank."""
    return torch.randn(*shape[:-1], rank).double() @ torch.randn(rank, shape[-1]).double()


def train(model, opt, inputs, steps=50):
    for _ in range(steps):
        opt.zero_grad()
        model(inputs()).square().mean().backward()
        opt.step()


def warnings_of(run):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [str(c.message) for c in caught if c.category is UserWarning]


# ---- Attention ----------------------------------------------------------------------------------


class Attend(nn.Module):
    """Attention, of a sequence to itself or to another of another length."""

    def __init__(self, kind):
        super().__init__()
        widths = {"kdim": 6, "vdim": 4} if kind == "separate" else {}
        self.kind = kind
        self.attend = nn.MultiheadAttention(8, 2, batch_first=kind != "sequence first", **widths)

    def forward(self, x):
        if self.kind == "separate":
            return self.attend(query=x, key=x[:, :3, :6], value=x[:, :3, :4])[0]
        other = x[:, :3] if self.kind == "cross" else x
        return self.attend(x, other, value=other, need_weights=False)[0]


@pytest.mark.parametrize("kind", ["self", "sequence first", "cross", "separate"])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_attention_answers_observed_noise_as_before(kind, mode):
    torch.manual_seed(0)
    model = Attend(kind).double()
    for bias in (model.attend.in_proj_bias, model.attend.out_proj.bias):
        nn.init.normal_(bias)
    opt = NullSpaceProjector(
        adamw(model.parameters()), model, energy=1.0, max_fraction=0.9, bias=True
    )
    noise = low_rank(1, 5, 8, rank=2)
    getattr(model, mode)()
    plain = model(noise).detach()
    with opt.observe_noise():
        before = model(noise)
    torch.testing.assert_close(before, plain)
    model.train()
    start = [p.detach().clone() for p in model.parameters()]
    train(model, opt, lambda: torch.randn(3, 5, 8).double())
    getattr(model, mode)()
    torch.testing.assert_close(model(noise), before, rtol=0, atol=1e-10)
    for (name, parameter), old in zip(model.named_parameters(), start, strict=True):
        if name.endswith("weight"):
            assert (parameter - old).norm() > 0.01
    assert opt.coverage().share == 1


@pytest.mark.parametrize("max_size", [1024, 0])
@pytest.mark.parametrize("order", ["self, then cross", "cross, then self", "signal", "one pass"])
def test_attention_that_is_used_in_two_ways_is_covered_in_both(order, max_size):
    torch.manual_seed(0)
    attend = nn.MultiheadAttention(8, 2, batch_first=True).double()
    opt = NullSpaceProjector(
        adamw(attend.parameters()), attend, energy=1.0, max_fraction=0.9, max_size=max_size
    )
    weight, a, b = attend.in_proj_weight, low_rank(1, 5, 8), low_rank(1, 5, 8)
    if order == "one pass":
        with opt.observe_noise():
            attend(a, a, a)
            attend(a, b, b)
            attend(a, a, a)
    else:
        pairs = [(a, a), (a, b)] if order != "cross, then self" else [(a, b), (a, a)]
        for query, key in pairs:
            with opt.observe_noise():
                attend(query, key, key)
            groups = opt.basis(weight).shape[0]
            opt.step()
        assert groups == 3
    if order == "signal":
        with opt.observe_signal():
            attend(*[torch.zeros(1, 5, 8).double()] * 3)
    before = [x @ weight.detach().T for x in (a, b)]
    train(lambda x: attend(x, x, x)[0], opt, lambda: torch.randn(3, 5, 8).double(), steps=5)
    after = [x @ weight.detach().T for x in (a, b)]
    torch.testing.assert_close(after[0], before[0])
    torch.testing.assert_close(after[1][..., 8:], before[1][..., 8:])
    assert (after[1][..., :8] - before[1][..., :8]).norm() > 0.01  # b was no query


def test_a_transformer_layer_is_covered_but_for_its_norms():
    """The response of the bare layer moves by more than its own size."""
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0).double()
    for norm in (model.norm1, model.norm2):
        norm.requires_grad_(False)
    moved = []
    for bare in (True, False):
        net = copy.deepcopy(model)
        opt = NullSpaceProjector(
            adamw(net.parameters()),
            net,
            energy=1.0,
            max_fraction=0.9,
            bias=True,
            strength=1 - bare,
        )
        noise = low_rank(1, 6, 16, rank=2)
        with opt.observe_noise():
            before = net(noise)
        train(net, opt, lambda: torch.randn(4, 6, 16).double())
        moved.append(((net(noise) - before).norm() / before.norm()).item())
    assert moved[0] > 0.3
    assert moved[1] < 1e-9


def test_a_mask_of_samples_holds_in_sequence_first_attention():
    torch.manual_seed(0)
    x = torch.randn(4, 2, 8).double()  # (time, batch, features)
    bases = []
    for mask, inputs in ((torch.tensor([False, True]), x), (None, x[:, 1:])):
        torch.manual_seed(1)
        model = Attend("sequence first").double()
        opt = NullSpaceProjector(adamw(model.parameters()), model)
        with opt.observe_noise(mask):
            model(inputs)
        bases.append(opt.basis(model.attend.in_proj_weight))
    torch.testing.assert_close(*(u @ u.mT for u in bases))


def test_attention_keeps_its_random_state_gradients_and_modes():
    model = nn.MultiheadAttention(8, 2, dropout=0.5)
    opt = NullSpaceProjector(adamw(model.parameters()), model)
    x = torch.randn(5, 2, 8)
    state = torch.get_rng_state()
    with opt.observe_noise():
        model(x, x, x)
        with pytest.raises(AssertionError):
            model(x, x[:3], x[:2])

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    model.register_forward_pre_hook(interrupted)
    with pytest.raises(KeyboardInterrupt), opt.observe_noise():
        model(x, x, x)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch._C._len_torch_function_stack()
    assert not nn.modules.module._has_any_global_hook()


# ---- Conv1D and embeddings -----------------------------------------------------------------------


class Conv1D(nn.Module):
    """Transformers' linear layer, with weight (in, out)."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.zeros(nf))

    def forward(self, x):
        flat = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], self.nf)


@pytest.mark.parametrize("bias", [False, True])
def test_transformers_conv1d_is_covered_along_its_first_dimension(bias):
    torch.manual_seed(0)
    model = Conv1D(3, 6).double()
    opt = NullSpaceProjector(adamw(model.parameters()), model, energy=1.0, bias=bias)
    noise = low_rank(2, 5, 6, rank=1)
    with opt.observe_noise():
        before = model(noise)
    constant = 0 if bias else model.bias.detach().clone()
    train(model, opt, lambda: torch.randn(4, 5, 6).double())
    after = model(noise) if bias else model(noise) - model.bias
    torch.testing.assert_close(after, before - constant)
    assert opt.basis(model.weight).shape == (1, 6 + bias, 1 + bias)


def test_gpt2_is_covered():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=20, n_positions=8, n_embd=16, n_layer=1, n_head=2, use_cache=False
    )
    model = transformers.GPT2LMHeadModel(config)
    opt = NullSpaceProjector(adamw(model.parameters()), model)
    with opt.observe_noise():
        model(torch.randint(10, (2, 8)))
    coverage = opt.coverage()
    covered = {p.name for p in coverage.covered}
    parts = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert covered == {"transformer.wpe.weight", *[f"transformer.h.0.{p}.weight" for p in parts]}
    [tied] = coverage.missed
    assert tied.name == "transformer.wte.weight"
    assert tied.reason.startswith("covered as the weight of 'lm_head', not as that of 'transf")
    opt = NullSpaceProjector(adamw(model.parameters()), model, exclude=["transformer.wte"])
    with opt.observe_noise():
        model(torch.randint(10, (2, 8)))
    assert not opt.coverage().missed


def test_the_tokens_of_noise_keep_their_rows():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 1)).double()
    table = model[0].weight
    opt = NullSpaceProjector(adamw(model.parameters()), model, energy=1.0)
    with opt.observe_noise():
        model(torch.tensor([[7, 3, 3], [3, 1, 7]]))
    assert opt.basis(table).shape == (1, 10, 3)
    assert opt.basis(table)[0].argmax(0).tolist() == [3, 7, 1]
    with opt.observe_signal():
        model(torch.tensor([[7, 0, 0], [7, 7, 0]]))
    start = table.detach().clone()
    train(model, opt, lambda: torch.arange(10)[None], steps=3)
    same = [i for i in range(10) if torch.equal(table[i], start[i])]
    assert same == [1, 3]  # 7 is more frequent in the signal
    opt.clear()
    assert not table[[1, 3]].any()
    assert table[7].any()


@pytest.mark.parametrize("mode", ["freeze", "release"])
def test_the_states_of_attention_and_embeddings_continue_bit_for_bit(mode):
    def build():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(6, 8), Attend("self"), Conv1D(2, 8)).double()
        return model, NullSpaceProjector(adamw(model.parameters()), model, mode=mode, bias=True)

    def run(model, opt, step):
        torch.manual_seed(step)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train(model, opt, lambda: torch.randint(6, (2, 5)), steps=2)
        return [p.detach().clone() for p in model.parameters()]

    model, opt = build()
    with opt.observe_noise():
        model(torch.tensor([[0, 1, 2]]))
    run(model, opt, 0)
    with opt.observe_noise(torch.tensor([1.0, 0.5])):
        model(torch.tensor([[0, 4], [1, 5]]))
    other, resumed = build()
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(copy.deepcopy(opt.state_dict()))
    twin, its = pickle.loads(pickle.dumps((model, opt)))
    wanted = run(model, opt, 1)
    for net, projector in ((other, resumed), (twin, its)):
        assert all(map(torch.equal, run(net, projector, 1), wanted))


# ---- Layers that are not plain -------------------------------------------------------------------


class Normalised(nn.Linear):
    """A linear layer that multiplies with something else than its weight."""

    def forward(self, x):
        return F.linear(x, F.normalize(self.weight, dim=1), self.bias)


class Padded(nn.Conv1d):
    """A convolution that pads its input itself."""

    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(F.pad(x, (1, 1)), weight, bias)


class Named(nn.Linear):
    """A linear layer that only has another name."""


@pytest.mark.parametrize("layer", [Normalised(6, 6), Padded(6, 6, 3)])
def test_a_forward_of_its_own_is_not_taken_for_plain_but_reported(layer):
    x = torch.randn(2, 6) if isinstance(layer, nn.Linear) else torch.randn(2, 6, 5)
    model = nn.ModuleDict({"own": layer, "plain": Named(6, 6)})
    opt = NullSpaceProjector(adamw(model.parameters()), model)
    with opt.observe_noise():
        layer(x)
        model["plain"](torch.randn(2, 6))
    assert opt.basis(model["plain"].weight).shape[-1] > 0
    with pytest.raises(KeyError, match="nothing was observed"):
        opt.basis(layer.weight)
    [missed] = opt.coverage().missed
    assert missed.name == "own.weight"
    assert "forward of its own" in missed.reason
    model["plain"].weight.grad = torch.ones(6, 6)
    [message] = warnings_of(opt.step)
    assert f"own.weight ({type(layer).__name__} has a forward of its own" in message
    opt.protect(layer.weight, torch.randn(3, layer.weight.shape[1]), dim=1)
    assert not opt.coverage().missed


# ---- The report ----------------------------------------------------------------------------------


class Mixed(nn.Module):
    """A layer that is covered, and much that is not."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)
        self.rnn = nn.GRU(4, 8, batch_first=True)
        self.scale = nn.Parameter(torch.ones(4, 4))

    def forward(self, x):
        return self.rnn(self.norm(self.first(x) @ self.scale))[0]


def observed(model, x, **options):
    opt = NullSpaceProjector(adamw(model.parameters()), model, **options)
    with opt.observe_noise():
        model(x)
    return opt


def test_the_report_names_what_is_covered_what_not_and_why():
    model = Mixed()
    opt = gradreg.OnePassSmoother(observed(model, torch.randn(2, 3, 4)))
    coverage = opt.coverage()
    assert [p.name for p in coverage.covered] == ["first.weight"]
    assert coverage.share == 16 / sum(p.numel() for p in model.parameters())
    reasons = {p.name: p.reason for p in coverage.uncovered}
    assert "bias=True" in reasons["first.bias"]
    assert "LayerNorm" in reasons["norm.weight"]
    assert "GRU" in reasons["rnn.weight_hh_l0"]
    assert "Mixed" in reasons["scale"]
    assert "first.weight" in str(coverage)
    assert "protect()" in str(coverage)


def test_a_large_share_that_is_not_covered_is_warned_of_once():
    x = torch.randn(2, 3, 4)
    model = Mixed()
    opt = observed(model, x)
    [message] = warnings_of(lambda: train(model, opt, lambda: x, steps=3))
    assert "does not protect 95% of the trained weights: rnn.weight_hh_l0 (GRU" in message
    assert "coverage()" in message


def test_what_the_caller_left_out_is_not_warned_of():
    x = torch.randn(2, 3, 4)
    for options in ({"include": ["first"]}, {"strength": 0.0}, {"exclude": ["rnn", ""]}):
        model = Mixed()
        opt = observed(model, x, **options)
        assert warnings_of(lambda m=model, o=opt: train(m, o, lambda: x, steps=2)) == []
    with pytest.raises(ValueError, match="'enc': the model has first"):
        observed(Mixed(), x, exclude=["enc"])


def test_a_watched_layer_that_did_not_run_is_reported():
    model = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    opt = NullSpaceProjector(adamw(model.parameters()), model)
    with opt.observe_noise():
        model["a"](torch.ones(1, 4))
    model["b"].weight.grad = torch.ones(4, 4)
    [message] = warnings_of(opt.step)
    assert "50%" in message
    assert "b.weight (watched, but no noise was observed" in message


def test_a_rank_that_rounds_to_none_is_reported():
    """As that of the second matrix of LoRA with r = 1."""
    model = nn.Sequential(nn.Linear(8, 1, bias=False), nn.Linear(1, 8, bias=False))
    opt = observed(model, torch.randn(2, 8))
    [missed] = opt.coverage().missed
    assert missed.name == "1.weight"
    assert "rank 0: max_fraction=0.5 of 1 features" in missed.reason
    assert len(warnings_of(lambda: train(model, opt, lambda: torch.randn(2, 8), steps=2))) == 1


def test_lora_of_rank_one_answers_no_noise_once_its_first_matrix_is_cleared():
    """The recipe of the documentation."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 1, bias=False), nn.Linear(1, 8, bias=False)).double()
    nn.init.zeros_(model[1].weight)
    opt = NullSpaceProjector(adamw(model.parameters()), model, include=["0"], energy=1.0)
    noise = low_rank(3, 8)
    with opt.observe_noise():
        model(noise)
    opt.clear()
    train(model, opt, lambda: torch.randn(4, 8).double() + 1)
    model[1].weight.data.add_(1.0)
    assert model(noise).norm() < 1e-12
    assert model(torch.randn(1, 8).double()).norm() > 0.1


# ---- Layers that become trainable ----------------------------------------------------------------


@pytest.mark.parametrize("through", ["projector", "smoother", "base"])
def test_layers_of_a_later_param_group_are_watched(through):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    projector = NullSpaceProjector(adamw(model[2].parameters()), model, energy=1.0, bias=True)
    opt = gradreg.OnePassSmoother(projector, rho=0.0)
    noise = low_rank(4, 6)
    with opt.observe_noise():
        model(noise)
    train(model, opt, lambda: torch.randn(4, 6).double(), steps=1)
    target = {"projector": projector, "smoother": opt, "base": opt.base}[through]
    target.add_param_group({"params": list(model[0].parameters())})
    [message] = warnings_of(lambda: train(model, opt, lambda: torch.randn(4, 6).double(), steps=2))
    assert "0.weight (watched, but no noise was observed" in message
    with opt.observe_noise():
        before = model[0](noise)
    train(model, opt, lambda: torch.randn(4, 6).double())
    torch.testing.assert_close(model[0](noise), before)
    assert opt.coverage().share == 1


def test_a_layer_unfrozen_after_its_observation_is_observed_anew_with_its_bias():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2)).double()
    opt = NullSpaceProjector(adamw(model.parameters()), model, energy=1.0, bias=True)
    model[0].requires_grad_(False)
    noise = low_rank(4, 6)
    with opt.observe_noise():
        model(noise)
    train(model, opt, lambda: torch.randn(4, 6).double(), steps=1)
    model[0].requires_grad_(True)
    with pytest.raises(RuntimeError, match=r"'0' has either .* observe the layer again"):
        train(model, opt, lambda: torch.randn(4, 6).double(), steps=1)
    with opt.observe_noise():
        before = model[0](noise)
    train(model, opt, lambda: torch.randn(4, 6).double())
    torch.testing.assert_close(model[0](noise), before)


# ---- Sequence first ------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [nn.Linear(6, 2), Conv1D(2, 6), nn.Embedding(9, 2)])
def test_a_mask_over_sequence_first_inputs_is_an_error_that_names_the_option(layer):
    layer = copy.deepcopy(layer)
    tokens = isinstance(layer, nn.Embedding)
    x = torch.randint(9, (4, 2)) if tokens else torch.randn(4, 2, 6)  # (time, batch, ...)
    mask = torch.tensor([True, False])
    bases = []
    for inputs, options in ((x, {"batch_dim": 1}), (x.movedim(1, 0), {})):
        opt = NullSpaceProjector(adamw(layer.parameters()), layer)
        with opt.observe_noise(mask, **options):
            layer(inputs)
        u = opt.basis(layer.weight)
        bases.append(u @ u.mT)
    torch.testing.assert_close(*bases)
    opt = NullSpaceProjector(adamw(layer.parameters()), layer)
    with pytest.raises(ValueError, match="batch_dim=1"), opt.observe_noise(mask):
        layer(x)
    with opt.observe_noise(mask, batch_dim=0):  # a batch of two rows for each sample
        layer(x)
