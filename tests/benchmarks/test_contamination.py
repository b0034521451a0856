"""Training on recordings without a pulse: its arms, its keys, and the claims that follow."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import gradreg
from benchmarks import contamination
from benchmarks.contamination import FULL, Contamination, compare_with_cleaning, judge
from benchmarks.study.statistics import Interval, subject_means
from benchmarks.trials.contaminated import (
    FORMER_SPAN_S,
    new_trainer,
    run_contaminated,
    span_amplitude,
    training_clips,
)
from benchmarks.trials.evaluation import CONTINUOUS, SNR
from benchmarks.trials.fcus import new_network, run_fcus
from benchmarks.trials.key import key
from benchmarks.trials.trial_settings import ARMS, FILTERED, Trial, train_config
from rppg.errors import InputError
from rppg.estimators.fcus import FcusEstimator
from rppg.evaluation import evaluate
from rppg.models.fcus import FcusOutput
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import DOMAINS
from rppg.train.clips import ClipSet
from rppg.train.config import TrainConfig
from rppg.train.run import train

ROOT = Path(__file__).parents[2]
PLAIN = Trial("fcus", "lab", subjects=3, split="validation", test_subjects=2, targets=("lab",))


def arm(name, dead=0.0):
    return replace(PLAIN, arm=name, dead=dead)


# ---- Trials -------------------------------------------------------------------------------------


def test_older_trials_have_no_arm():
    assert not {"arm", "dead"} & PLAIN.to_json().keys()
    described = arm("new", 0.6).to_json()
    assert (described["arm"], described["dead"]) == ("new", 0.6)
    assert Trial.from_json(described) == arm("new", 0.6)


def test_keys_of_trials_without_an_arm_are_those_of_the_committed_ones():
    lines = (ROOT / "docs/results/trials.jsonl").read_text(encoding="utf-8").splitlines()
    filtered = [r for r in map(json.loads, lines) if r["trial"]["method"] in FILTERED]
    assert filtered
    assert all(key(Trial.from_json(r["trial"])) == r["key"] for r in filtered)


def test_keys_tell_arms_and_shares_apart():
    trials = [PLAIN, *(arm(name, dead) for name in ARMS for dead in FULL.dead)]
    assert len({key(trial) for trial in trials}) == len(trials)


def test_unknown_arms_are_refused():
    with pytest.raises(InputError, match="no arm 'dirty'"):
        arm("dirty")
    with pytest.raises(InputError, match=r"pos\+skin\+verified has no arm"):
        Trial("pos+skin+verified", arm="none")
    with pytest.raises(InputError, match=r"dead=0\.5 without an arm"):
        Trial("fcus", "lab", dead=0.5)


@pytest.fixture(scope="module")
def new_mask():
    """The results of the arm with the present mask, on a clean folder."""
    return run_contaminated(arm("new"))


def test_the_present_mask_on_a_clean_folder_is_the_usual_training(new_mask):
    usual, ours = run_fcus(PLAIN), new_mask
    assert ours["points"][0]["targets"] == usual["points"][0]["targets"]
    assert ours["recordings"] == {"living": 3, "dead": 0}


@pytest.mark.slow
def test_no_mask_is_the_training_without_the_mask():
    other = run_contaminated(arm("none"))
    without = run_fcus(replace(PLAIN, levels=("smooth", "project")))
    assert other["points"][0]["targets"] == without["points"][0]["targets"]
    assert other["points"][0]["kept"] == 1


def test_trials_hold_the_ratio_of_signal_to_noise(new_mask):
    trained = train(train_config(PLAIN))
    recordings = synthetic_recordings("lab", "validation", 2)
    rows = evaluate(recordings, {"fcus": FcusEstimator(trained.net)}).windows
    windows = new_mask["points"][0]["targets"]["lab"]
    assert windows[SNR] == pytest.approx([row.snr_db for row in rows], abs=0.05)
    assert len(windows[SNR]) == len(windows["pred_bpm"]) == len(windows[CONTINUOUS])


def test_arms_choose_their_recordings():
    """Of the first six of lab, some are dead at 0.6; the cleaned folder has most of the living."""
    contaminated = replace(arm("none", 0.6), subjects=6)
    config = train_config(contaminated)
    assert config.data == ("synthetic:lab?dead=0.6&options=1",)
    everyone, living = training_clips(contaminated, config)
    only, known = training_clips(replace(contaminated, arm="living"), config)
    _, cleaned = training_clips(replace(contaminated, arm="cleaned"), config)
    assert 0 < sum(living) < len(living) == 6
    assert known == (True,) * sum(living)
    assert len(only.clips) == len(everyone.clips) * sum(living) // 6
    assert sum(cleaned) >= sum(living) - 1
    assert cleaned.count(False) < living.count(False)


def test_the_oracle_keeps_the_clips_of_living_recordings():
    config = TrainConfig(mask=TrainConfig().mask, smooth=None, project=None)
    living = (True, False, False, True, False)
    spans = [100 + torch.rand(450, 3, 18, 18) * float(alive) for alive in living]
    starts = [(span, start) for span in range(5) for start in (0, 75, 150)]
    clip_set, net = ClipSet(spans, starts, 300), new_network(config)
    trainer = new_trainer(arm("oracle", 0.6), net, clip_set, config, living)
    seen = 0
    for batch in trainer.batches(skip=0):
        alive = batch.clips.flatten(1).std(1) > 0
        with torch.no_grad():
            output = net(batch.clips)
        kept = trainer.evidence(net, output, batch)
        assert kept.shape == output.regions.shape
        assert kept.dtype == torch.bool
        assert torch.equal(kept.all(-1).all(-1), alive)
        assert torch.equal(kept.any(-1).any(-1), alive)
        seen += int(alive.sum())
    assert seen == 6


def test_the_former_mask_judges_amplitude():
    config = TrainConfig()
    net = new_network(config)
    clip_set = ClipSet([100 + torch.rand(300, 3, 18, 18)], [(0, 0)], 300)
    trainer = new_trainer(arm("old"), net, clip_set, config, (True,))
    prior = trainer.optimizer.prior
    assert isinstance(prior, gradreg.WeakAmplitude)
    assert (prior.low, prior.high, prior.adaptive) == (5e-5, 1e-2, 0.8)
    regions = torch.zeros(1, 1, 300)
    regions[..., 150:] = 4e-3
    output = FcusOutput(regions, *[torch.zeros(0)] * 3, None)
    amplitude = trainer.evidence(net, output, None)[0, 0]
    half = round(FORMER_SPAN_S * 30) // 2
    assert trainer.evidence is span_amplitude
    assert amplitude[150 - half - 1] == 0 < amplitude[150 - half]
    assert amplitude[-1] == pytest.approx(4e-3)
    assert amplitude[149] == pytest.approx(4e-3 * math.sqrt(half / (2 * half + 1)))


# ---- Claims -------------------------------------------------------------------------------------


def study(snr_db, seeds=5, failed=()):
    """Return a study in which an arm's SNR is what `snr_db` says of share and arm."""
    results = {}
    for source in contamination.FULL.sources:
        for seed in range(seeds):
            for dead in FULL.dead:
                for name in ARMS:
                    trial = Trial("fcus", source, seed, epochs=2, arm=name, dead=dead)
                    values = [
                        snr_db(dead, name, seed) + subject + 0.01 * seed for subject in range(4)
                    ]
                    windows = {
                        "subject": [str(n) for n in range(4)],
                        "true_bpm": [60.0] * 4,
                        "pred_bpm": [62.0] * 4,
                        SNR: values,
                    }
                    targets = dict.fromkeys(DOMAINS, windows)
                    results[trial] = {"points": [{"epoch": 1, "targets": targets}]}
                    if (source, seed, name) in failed:
                        results[trial] = {"points": [], "failed": "the loss is nan"}
    return Contamination(results)


def test_claims_by_hand():
    table = {"none": -0.3, "oracle": 0.05, "cleaned": 0.2}
    gained = study(lambda dead, name, seed: table.get(name, 0.0) if dead else 0.0)
    assert [claim.holds for claim in judge(gained)] == [True, True, True]
    assert [claim.holds for claim in judge(gained, asked=False)] == [None, None, None]
    difference = gained.difference("none", 0.6, SNR, 1)
    assert (difference.mean, difference.low) == pytest.approx((0.3, 0.3))
    assert gained.difference("none", 0.6, contamination.MAE, 1).mean == 0
    assert gained.mean("wild", 0.6, "none", SNR, 1) == pytest.approx(-0.3 + 1.5 + 0.02)
    little = study(lambda dead, name, seed: -0.1 if name == "none" and dead else 0.0)
    assert [claim.holds for claim in judge(little)] == [False, True, True]
    by_chance = [-4.0, 2.0, -3.0, 2.0, 1.5]
    chance = study(lambda dead, name, seed: by_chance[seed] if name == "none" and dead else 0.0)
    assert chance.difference("none", 0.6, SNR, 1).mean == pytest.approx(0.3)
    assert not judge(chance)[0].holds
    worse = study(lambda dead, name, seed: 0.15 if name in ("none", "oracle") else 0.0)
    assert [claim.holds for claim in judge(worse)] == [False, False, False]
    assert "Cleaning the folder first beats" in compare_with_cleaning(
        gained.difference("cleaned", 0.6, SNR, 1), 0.6
    )


def test_without_dead_recordings_the_oracle_is_no_mask():
    found = study(lambda dead, name, seed: {"oracle": 9.0, "none": 1.0}.get(name, 0.0))
    assert found.mean(None, 0.0, "oracle", SNR, 1) == found.mean(None, 0.0, "none", SNR, 1)
    assert found.mean(None, 0.6, "oracle", SNR, 1) > 9


def test_trainings_that_diverged_are_left_out_with_their_partners():
    found = study(
        lambda dead, name, seed: -0.3 if name == "none" else 0.0, failed=[("wild", 0, "none")]
    )
    assert len(found.failed) == len(FULL.dead)
    assert found.difference("none", 0.6, SNR, 1).mean == pytest.approx(0.3)
    alone = study(lambda dead, name, seed: 0.0, seeds=1, failed=[("wild", 0, "none")])
    assert alone.difference("none", 0.6, SNR, 1, "wild") is None


def test_the_verdict_on_cleaning_needs_an_interval_on_one_side():
    assert compare_with_cleaning(Interval(0.1, -0.1, 0.3, 0.3), 0.6).startswith(
        "Masking does not beat"
    )
    assert compare_with_cleaning(Interval(0.2, 0.1, 0.3, 0.01), 0.6).startswith("Masking beats")
    assert "too small" in compare_with_cleaning(Interval(0.2, 0.1, 0.3, 0.01), 0.6, asked=False)
    assert "not measured" in compare_with_cleaning(None, 0.6)


def test_means_of_subjects_leave_out_what_is_missing():
    windows = {"subject": ["0", "0", "1"], SNR: [1.0, None, None]}
    found = subject_means({"targets": {"lab": windows}}, ["lab"], SNR)
    assert found["lab", "0"] == 1.0
    assert math.isnan(found["lab", "1"])
