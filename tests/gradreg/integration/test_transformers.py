"""Hugging Face's `Trainer` with each wrapper: what it computes is what a plain loop computes."""

import logging
import os
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import gradreg

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip(
    "transformers", reason="transformers comes with the extra `integration`"
)
pytest.importorskip("accelerate", reason="accelerate comes with the extra `integration`")

LEVELS = [("mask",), ("one pass",), ("project",), ("project", "one pass", "mask")]


@pytest.fixture
def bert(lab, tmp_path, monkeypatch) -> SimpleNamespace:
    """A two-layer BERT, built from its configuration; data; a trainer and a loop around them."""
    monkeypatch.setattr(logging.getLogger("transformers.trainer"), "disabled", True)

    def model():
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=32,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
        )
        return transformers.BertForSequenceClassification(config)

    generator = torch.Generator().manual_seed(0)
    data = [
        {"input_ids": torch.randint(32, (8,), generator=generator), "labels": torch.tensor(i % 2)}
        for i in range(24)
    ]

    def build(levels):
        net = model()
        opt = torch.optim.AdamW(net.parameters(), lr=3e-3)
        for level in levels:
            opt = lab.WRAPPERS[level](opt, net)
            if level == "mask":
                opt.prior = gradreg.MedianOutlier(1.5)
        if "project" in levels:
            with opt.observe_noise():
                net(input_ids=data[0]["input_ids"][None])
        if "mask" in levels:  # some samples' logits fail
            net.register_forward_hook(lambda _, __, out: verify(opt, out))
        return net, opt, torch.optim.lr_scheduler.LinearLR(opt, 1.0, 0.1, 12)

    def verify(opt, out):
        if torch.is_grad_enabled():
            out["logits"], _ = opt.verify(out["logits"], out["logits"].abs().amax(1, keepdim=True))
            out["loss"] = nn.functional.cross_entropy(out["logits"], labels[0])
        return out

    labels: list[torch.Tensor] = [torch.zeros(0)]
    seen: list[tuple[torch.Tensor, dict[str, torch.Tensor]]] = []

    class Trainer(transformers.Trainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            seen.append((torch.get_rng_state(), dict(inputs)))
            labels[0] = inputs["labels"]
            return super().compute_loss(model, inputs, *args, **kwargs)

    def trainer(levels, callbacks=(), **options):
        net, opt, scheduler = build(levels)
        options = {
            "max_steps": 6,
            "per_device_train_batch_size": 4,
            "max_grad_norm": 0.5,
            "save_strategy": "no",
            "report_to": [],
            "use_cpu": True,
            "disable_tqdm": True,
            "seed": 3,
            "dataloader_pin_memory": False,
            **options,
        }
        built = Trainer(
            model=net,
            args=transformers.TrainingArguments(output_dir=str(tmp_path), **options),
            train_dataset=data,
            eval_dataset=data[:4],
            optimizers=(opt, scheduler),
            callbacks=list(callbacks),
        )
        built.model_accepts_loss_kwargs = False  # the loss is a micro-batch's mean
        return built, opt

    return SimpleNamespace(trainer=trainer, build=build, labels=labels, seen=seen)


def same_weights(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def weights_of(model):
    return [p.detach().clone() for p in model.parameters()]


class Recording(transformers.TrainerCallback):
    """The weights after each step."""

    def __init__(self):
        self.weights = []

    def on_step_end(self, *args, **kwargs):
        self.weights.append(weights_of(kwargs["model"]))


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_trainer_trains_as_a_plain_loop_does(bert, lab, levels, accumulate):
    recording = Recording()
    trainer, opt = bert.trainer(levels, [recording], gradient_accumulation_steps=accumulate)
    trainer.train()

    net, other, scheduler = bert.build(levels)
    net.train()
    for step in range(6):
        for random, inputs in bert.seen[step * accumulate : (step + 1) * accumulate]:
            torch.set_rng_state(random)  # dropout
            bert.labels[0] = inputs["labels"]
            (net(**inputs)["loss"] / accumulate).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        other.step()
        scheduler.step()
        other.zero_grad()
        assert lab.same(recording.weights[step], weights_of(net))
    if "mask" in levels:
        assert opt.stats == other.stats
        assert 0 < opt.stats.kept < 1


@pytest.mark.parametrize("levels", [("smooth",), ("project", "smooth", "mask")])
def test_two_passes_need_a_closure_which_the_trainer_has_not(bert, levels):
    trainer, _ = bert.trainer(levels)
    with pytest.raises(RuntimeError, match=r"step\(\) without one.*OnePassSmoother"):
        trainer.train()


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("strategy", ["steps", "epoch"])
def test_evaluation_and_checkpoints_have_the_clean_weights(bert, lab, levels, strategy, tmp_path):
    from gradreg.integrations.transformers import CleanWeights

    clean, evaluated = [], []

    class Evaluated(transformers.TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            with kwargs["optimizer"].optimizer.unperturbed():
                clean.append(weights_of(kwargs["model"]))

        def on_prediction_step(self, *args, **kwargs):
            evaluated.append(weights_of(kwargs["model"]))

    recording, without = Recording(), Recording()
    options = {
        "save_strategy": strategy,
        "save_steps": 3,
        "eval_strategy": strategy,
        "eval_steps": 3,
        "load_best_model_at_end": strategy == "steps",
    }
    trainer, _ = bert.trainer(levels, [Evaluated(), recording, CleanWeights()], **options)
    trainer.train()
    at = [3, 6] if strategy == "steps" else [6]
    assert lab.same(evaluated[0], clean[at[0] - 1])
    for step in at:
        path = tmp_path / f"checkpoint-{step}"
        saved = transformers.BertForSequenceClassification.from_pretrained(path)
        assert lab.same(weights_of(saved), clean[step - 1])
    assert any(lab.same(weights_of(trainer.model), clean[step - 1]) for step in at)
    # None of that changed how it trained.
    bert.trainer(levels, [without], **options)[0].train()
    assert all(map(lab.same, recording.weights, without.weights))
    assert not lab.same(recording.weights[0], recording.weights[-1])


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("callback", [True, False])
def test_training_goes_on_bit_exactly_from_a_checkpoint(bert, lab, levels, callback, tmp_path):
    from gradreg.integrations.transformers import CleanWeights

    def train(**options):
        callbacks = [CleanWeights()] if callback else []
        recording = Recording()
        trainer, opt = bert.trainer(
            levels, [recording, *callbacks], save_strategy="steps", save_steps=4
        )
        trainer.train(**options)
        return trainer.model, opt, recording

    through, opt, recording = train()
    resumed, other, rest = train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert len(rest.weights) == 2
    assert all(map(lab.same, recording.weights[4:], rest.weights))
    assert lab.same(lab.state_of(through, opt), lab.state_of(resumed, other))


def test_the_callbacks_example_runs():
    import doctest
    import importlib

    module = importlib.import_module("gradreg.integrations.transformers")
    assert doctest.testmod(module).failed == 0
