"""The screening of redesigns: what each arm does to a training, and the verdicts that follow."""

import json
from types import SimpleNamespace

import pytest
import torch

import gradreg
from benchmarks.redesigns import fcus, peer
from benchmarks.redesigns.__main__ import comparisons, key, main, verdict
from benchmarks.redesigns.arms import ARMS, COMPARISONS, Arm
from benchmarks.redesigns.dead_gradients import GradientProjector
from benchmarks.redesigns.training import train

TINY = ["--sources", "lab", "--subjects", "2", "--validation-subjects", "1", "--seeds", "1"]


class Line:
    """A trainer that fits a line to nothing, and notes the rates and radii of its steps."""

    steps_per_epoch = 4

    def __init__(self, smooth=None):
        self.net = torch.nn.Linear(3, 1)
        self.optimizer = gradreg.regularize(
            torch.optim.AdamW(self.net.parameters(), lr=0.1), self.net, smooth=smooth
        )
        self.rates, self.passes = [], []

    def start(self):
        pass

    def batches(self, skip):
        return iter([torch.eye(3)] * self.steps_per_epoch)

    def step(self, batch):
        passes = 0

        def closure():
            nonlocal passes
            passes += 1
            self.optimizer.zero_grad()
            loss = (self.net(batch) - 1).square().mean()
            loss.backward()
            return loss

        self.rates.append(self.optimizer.param_groups[0]["lr"])
        loss = self.optimizer.step(closure)
        self.passes.append(passes)
        return {"loss": float(loss.detach())}


def test_the_late_smoother_climbs_in_the_second_half_only_while_the_rate_falls():
    trainer = Line(smooth=0.01)
    train(trainer, Arm(falling=True, late_rho=True))
    assert trainer.passes == [1, 1, 2, 2]
    assert trainer.rates == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447], abs=1e-6)
    constant = Line()
    train(constant, Arm())
    assert constant.rates == [0.1] * 4
    assert train(constant, Arm(trained=False))["steps"] == 0
    assert len(constant.rates) == 4


def test_updates_stay_out_of_the_span_of_the_dead_gradients():
    torch.manual_seed(0)
    trainer = Line()
    dead = torch.tensor([[1.0, 2.0, 0.0]])
    before = [p.detach().clone() for p in trainer.net.parameters()]
    response = trainer.net(dead).item()
    result = train(trainer, Arm(dead_gradients=True), lambda: trainer.net(dead).sum())
    assert result == {"steps": 4, "rank": 1}
    assert trainer.net(dead).item() == pytest.approx(response, abs=1e-6)
    moved = [(p - b).norm() for p, b in zip(trainer.net.parameters(), before, strict=True)]
    assert min(moved) > 0.01


def test_dead_gradients_that_say_nothing_are_left_out():
    weight = torch.nn.Parameter(torch.zeros(2))
    opt = GradientProjector(torch.optim.SGD([weight], lr=1.0))
    opt.avoid(torch.tensor([[0.0, 0.0], [float("nan"), 1.0], [1e-9, 0.0]]))
    weight.grad = torch.ones(2)
    opt.step()
    assert weight.tolist() == [0.0, -1.0]


def test_each_redesign_differs_from_its_controls_in_one_thing():
    for redesign, control in COMPARISONS:
        ours, theirs = vars(ARMS[redesign]), vars(ARMS[control])
        assert sum(ours[name] != theirs[name] for name in ours) == 1


def test_the_contrastive_arms_observe_faces_as_signal():
    seen = {}
    for name in ("projector", "contrastive"):
        arm = ARMS[name]
        config = fcus.configuration("lab", 0, arm, 2)
        clip_set, _, _ = fcus.clips_of("lab", 2, config.clip_s, config.stride_s, config.model)
        kind = fcus.ContrastiveTrainer if arm.project == "contrastive" else fcus.FcusTrainer
        trainer = kind(fcus.new_network(config), clip_set, config)
        trainer.start()
        projector = trainer.optimizer.inner
        seen[name] = [weight.signal is not None for weight in projector._weights.values()]
    assert seen["projector"] == [False] * 3
    assert seen["contrastive"] == [True] * 3
    masks = []
    projector = SimpleNamespace(observe_signal=masks.append)
    peer._FacesAsSignal(projector).observe_noise(torch.tensor([False, True]))
    assert masks[0].tolist() == [True, False]


def test_verdicts_by_hand():
    assert verdict([1.2, 1.0, 0.9]) == "follow"
    assert verdict([0.1, 0.2, 0.0]) == "stopped"
    assert verdict([3.0, -2.0, 0.5]) == "open"
    assert verdict([2.0]) == "not measured"


def test_differences_are_paired_by_source_and_seed():
    def trained(snr_db):
        return {"domains": {"lab": {"snr_db": snr_db, "mae_bpm": 3.0}}}

    results = {
        key("fcus", "webcam", 0, "late_rho"): trained(2.0),
        key("fcus", "webcam", 0, "falling"): trained(1.0),
        key("fcus", "wild", 0, "late_rho"): trained(5.0),
        key("fcus", "wild", 0, "falling"): trained(3.0),
        key("fcus", "wild", 1, "late_rho"): trained(9.0),
        key("fcus", "wild", 1, "falling"): {"failed": "the loss is nan"},
        key("peer", "lab", 0, "late_rho"): trained(9.0),
    }
    row = comparisons(results)[0]
    assert (row["method"], row["arm"], row["pairs"]) == ("fcus", "late_rho", 2)
    assert row["snr_db"]["mean"] == pytest.approx(1.5)
    assert row["mae_bpm"]["mean"] == 0


@pytest.mark.slow
def test_a_tiny_study_resumes_where_it_stopped(tmp_path, capsys):
    out = tmp_path / "redesigns.json"
    command = ["--out", str(out), "--methods", "fcus", *TINY, "--arms", "falling"]
    main(command)
    first = json.loads(out.read_text())["trained"]
    main([*command, "late_rho"])
    second = json.loads(out.read_text())["trained"]
    assert list(second) == ["fcus lab 0 falling", "fcus lab 0 late_rho"]
    assert second["fcus lab 0 falling"] == first["fcus lab 0 falling"]
    assert second["fcus lab 0 late_rho"]["clips"] == 10
    assert set(second["fcus lab 0 late_rho"]["domains"]) == {
        "lab",
        "webcam",
        "codec",
        "mobile",
        "wild",
    }
    assert "| fcus | late_rho | falling | 1 |" in capsys.readouterr().out


@pytest.mark.slow
def test_every_arm_trains_the_peer(tmp_path):
    out = tmp_path / "redesigns.json"
    small = ["--subjects", "8", "--validation-subjects", "1", "--seeds", "1"]
    main(["--out", str(out), "--methods", "peer", *small])
    trained = json.loads(out.read_text())["trained"]
    assert [result["rank"] > 0 for result in trained.values()] == [
        arm.project is not None or arm.dead_gradients for arm in ARMS.values()
    ]
