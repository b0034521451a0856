"""Lightning's `Trainer` with each wrapper: what it computes is what a plain loop computes."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import gradreg

lightning = pytest.importorskip("lightning", reason="lightning comes with the extra `integration`")

LEVELS = [
    ("mask",),
    ("smooth",),
    ("one pass",),
    ("project",),
    ("project", "smooth", "mask"),
    ("project", "one pass", "mask"),
]


class Batches(torch.utils.data.Dataset):
    def __init__(self, lab: SimpleNamespace, n: int) -> None:
        self.batches = [lab.batch(step) for step in range(n)]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.batches[i]


class Module(lightning.LightningModule):
    """The lab's network; a mask verifies its output."""

    def __init__(self, lab, levels, *, manual=None):
        super().__init__()
        self.net, self.lab, self.levels, self.manual = lab.make_net(), lab, levels, manual
        self.automatic_optimization = manual is None
        self.seen = []

    def configure_optimizers(self):
        opt = self.lab.stack(self.net, "AdamW", self.levels)
        if self.lab.has(opt, gradreg.NullSpaceProjector):
            with opt.observe_noise():
                self.net(self.lab.batch(500)[0][:2])
        return opt

    def loss(self, batch):
        x, y = batch
        opt = self.optimizers()
        if self.lab.has(self.trainer.optimizers[0], gradreg.PostVerificationMask):
            # Through Lightning's proxy of the optimizer.
            x, _ = opt.verify_input(x)
            out = self.net(x)
            out, _ = opt.verify(out, evidence=(out - y).detach().abs())
        else:
            out = self.net(x)
        return (out - y).square().mean()

    def training_step(self, batch, batch_idx):
        if self.automatic_optimization:
            return self.loss(batch)
        opt = self.optimizers()

        def closure():
            opt.zero_grad()
            loss = self.loss(batch)
            self.manual_backward(loss)
            return loss

        if self.manual == "closure":
            opt.step(closure)
        else:
            closure()
            opt.step()

    def validation_step(self, batch, batch_idx):
        self.seen.append([p.detach().clone() for p in self.net.parameters()])


def fit(
    module,
    steps,
    *,
    accumulate=1,
    batches=16,
    callbacks=(),
    ckpt_path=None,
    validate=False,
    **options,
):
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=steps,
        accumulate_grad_batches=accumulate,
        callbacks=list(callbacks),
        enable_checkpointing=any(
            isinstance(c, lightning.pytorch.callbacks.ModelCheckpoint) for c in callbacks
        ),
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        limit_val_batches=1 if validate else 0,
        val_check_interval=2 if validate else None,
        check_val_every_n_epoch=None if validate else 1,
        **options,
    )

    def loader(n):
        return torch.utils.data.DataLoader(Batches(module.lab, n), batch_size=None)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's hints on workers and the like
        trainer.fit(module, loader(batches), loader(1) if validate else None, ckpt_path=ckpt_path)
    return trainer


def by_hand(lab, levels, steps, each=None):
    """The same training in a plain loop, with a closure where it is needed."""
    net = lab.make_net()
    opt = lab.stack(net, "AdamW", levels)
    if lab.has(opt, gradreg.NullSpaceProjector):
        with opt.observe_noise():
            net(lab.batch(500)[0][:2])
    for step in range(steps):
        closure = lab.make_closure(net, opt, step)
        opt.step(closure if each is None else each(closure, net))
    return net, opt


def same_weights(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("manual", [None, "closure", "by itself"])
def test_a_trainer_trains_as_a_plain_loop_does(lab, levels, manual):
    module = Module(lab, levels, manual=manual)
    if manual == "by itself" and "smooth" in levels:
        with pytest.raises(RuntimeError, match=r"leaves the gradients.*gradreg\.OnePassSmoother"):
            fit(module, 4)
        return
    trainer = fit(module, 4)
    net, opt = by_hand(lab, levels, 4)
    assert same_weights(module.net, net)
    if "mask" in levels:
        assert trainer.optimizers[0].stats == opt.stats
        assert 0 < opt.stats.kept < 1


@pytest.mark.parametrize("levels", [levels for levels in LEVELS if "mask" in levels])
def test_samples_rejected_on_arrival_are_forgotten_after_their_step(lab, levels):
    """Lightning's proxy shares no attributes with the optimizer that makes the step."""
    module = Module(lab, levels, manual="closure")
    trainer = fit(module, 3)
    stand_in = trainer.strategy._lightning_optimizers[0]
    assert "_finite_input" not in vars(stand_in)
    assert "_verified" not in vars(stand_in)
    assert trainer.optimizers[0]._finite_input is None


@pytest.mark.parametrize("levels", LEVELS)
def test_clipping_acts_on_the_gradient_that_makes_the_step(lab, levels):
    module = Module(lab, levels)
    fit(module, 4, gradient_clip_val=0.05)

    def clipped(closure, net):
        def run():
            loss = closure()
            in_order = [p for group in lab.groups_of(net) for p in group["params"]]
            nn.utils.clip_grad_norm_(in_order, 0.05)
            return loss

        return run

    net, _ = by_hand(lab, levels, 4, clipped)
    assert same_weights(module.net, net)
    assert not same_weights(net, by_hand(lab, levels, 4)[0])


@pytest.mark.parametrize("levels", LEVELS)
def test_bfloat16(lab, levels):
    module = Module(lab, levels)
    fit(module, 4, precision="bf16-mixed")

    def under_autocast(closure, _):
        def run():
            with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
                return closure()

        return run

    net, _ = by_hand(lab, levels, 4, under_autocast)
    assert same_weights(module.net, net)


@pytest.mark.parametrize("levels", LEVELS)
def test_float16_with_a_scaler(lab, levels):
    module = Module(lab, levels)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    plugin = lightning.pytorch.plugins.MixedPrecision("16-mixed", "cpu", scaler)
    if "smooth" in levels:
        with pytest.raises(RuntimeError, match=r"step\(\) without one.*OnePassSmoother"):
            fit(module, 4, plugins=[plugin])
        return
    fit(module, 4, plugins=[plugin])
    net, opt = by_hand(lab, levels, 0)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    for step in range(4):
        x, y = lab.batch(step)
        with torch.autocast("cpu", torch.float16, cache_enabled=False):
            out = net(x)
            if "mask" in levels:
                out, _ = opt.verify(out, evidence=(out - y).detach().abs())
            loss = (out - y).square().mean()
        opt.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()
    assert same_weights(module.net, net)


@pytest.mark.parametrize("levels", LEVELS)
def test_accumulated_batches(lab, levels):
    module = Module(lab, levels)
    if "smooth" in levels:
        with pytest.raises(RuntimeError, match=r"adds to the gradients.*gradreg\.OnePassSmoother"):
            fit(module, 3, accumulate=2)
        return
    fit(module, 3, accumulate=2)
    net = lab.make_net()
    opt = lab.stack(net, "AdamW", levels)
    if lab.has(opt, gradreg.NullSpaceProjector):
        with opt.observe_noise():
            net(lab.batch(500)[0][:2])
    for step in range(3):
        opt.zero_grad()
        for part in (2 * step, 2 * step + 1):
            x, y = lab.batch(part)
            out = net(x)
            if lab.has(opt, gradreg.PostVerificationMask):
                out, _ = opt.verify(out, evidence=(out - y).detach().abs())
            ((out - y).square().mean() / 2).backward()
        opt.step()
    assert same_weights(module.net, net)


@pytest.mark.parametrize("levels", [("one pass",), ("project", "one pass", "mask"), ("smooth",)])
def test_the_callback_shows_clean_weights_and_changes_nothing_else(lab, levels):
    from gradreg.integrations.lightning import CleanWeights

    class Watch(lightning.Callback):
        def __init__(self):
            self.clean = []

        def on_train_batch_end(self, *_):
            self.clean.append([p.detach().clone() for p in module.net.parameters()])

    module, watch = Module(lab, levels), Watch()
    fit(module, 6, callbacks=[CleanWeights(), watch], validate=True)
    net, opt = by_hand(lab, levels, 2)
    with opt.unperturbed():
        assert lab.same(watch.clean[1], list(net.parameters()))
        assert lab.same(module.seen[-3], list(net.parameters()))  # the sanity check comes first
    net, opt = by_hand(lab, levels, 6)
    with opt.unperturbed():
        assert same_weights(module.net, net)
    perturbed = Module(lab, levels)
    fit(perturbed, 6)
    assert same_weights(module.net, perturbed.net) == ("smooth" in levels)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("weights_only", [False, True])
def test_training_goes_on_from_a_checkpoint(lab, levels, weights_only, tmp_path):
    from gradreg.integrations.lightning import CleanWeights

    def save():
        return lightning.pytorch.callbacks.ModelCheckpoint(
            tmp_path, every_n_train_steps=3, save_top_k=-1, save_weights_only=weights_only
        )

    through = Module(lab, levels)
    fit(through, 6, batches=3, callbacks=[CleanWeights(), save()])
    [third] = tmp_path.glob("*step=3.ckpt")
    saved = torch.load(third, weights_only=True)["state_dict"]
    net, opt = by_hand(lab, levels, 3)
    with opt.unperturbed():
        assert all(torch.equal(saved[f"net.{k}"], v) for k, v in net.state_dict().items())
    if not weights_only:
        resumed = Module(lab, levels)
        fit(resumed, 6, batches=3, callbacks=[CleanWeights()], ckpt_path=third)
        assert same_weights(through.net, resumed.net)


@pytest.mark.parametrize("levels", [("one pass",), ("project", "one pass", "mask")])
def test_without_the_callback_training_goes_on_exactly_too(lab, levels, tmp_path):
    save = lightning.pytorch.callbacks.ModelCheckpoint(
        tmp_path, every_n_train_steps=3, save_top_k=-1
    )
    through, resumed = Module(lab, levels), Module(lab, levels)
    fit(through, 6, batches=3, callbacks=[save])
    fit(resumed, 6, batches=3, ckpt_path=next(tmp_path.glob("*step=3.ckpt")))
    assert same_weights(through.net, resumed.net)


def test_the_callbacks_example_runs():
    import doctest
    import importlib

    module = importlib.import_module("gradreg.integrations.lightning")
    assert doctest.testmod(module).failed == 0
