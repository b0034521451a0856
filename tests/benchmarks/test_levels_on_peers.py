"""The mask on a peer: its trials are the package's own training, and the claims that follow."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import levels_on_peers
from benchmarks.levels_on_peers import (
    BY_REFERENCE,
    MAE,
    OWN,
    SHARES,
    LevelsOnPeers,
    describe_sinc,
    exact_shares,
    judge,
    measured_arm,
)
from benchmarks.trials.contaminated_peer import (
    POINTS,
    AtNetworkRate,
    kept_recordings,
    run_contaminated_peer,
)
from benchmarks.trials.evaluation import SNR
from benchmarks.trials.key import key
from benchmarks.trials.trial_settings import PEER_ARMS, Trial, peer_config
from rppg.errors import InputError
from rppg.peers.train import train_peer
from rppg.synthetic.cache import synthetic_recordings

PLAIN = Trial(
    "contrast-phys",
    "lab",
    subjects=5,
    arm="plain",
    clips=4,
    split="validation",
    test_subjects=1,
    targets=("lab",),
)
"""One step."""
MASKED = replace(PLAIN, arm="mask", dead=0.4, subjects=12, clips=8)
"""Two steps. Of the first eleven recordings, five have no pulse."""
LIVING = (3, 4, 6, 8, 9, 10)


# ---- Trials -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("trial", [PLAIN, MASKED])
def test_a_trial_is_the_package_s_own_training(trial):
    found = run_contaminated_peer(trial)
    options = {"epochs": 1, "select": "reference"}
    config = peer_config(trial).model_copy(update=options)
    recordings = synthetic_recordings(
        trial.source, "train", trial.subjects, variation=trial.contamination
    )
    by_reference = train_peer(config, recordings=recordings)
    assert len(found["points"]) == POINTS
    point = found["points"][-1]
    assert (point["epoch"], point["clips"]) == (1, trial.clips)
    assert point[BY_REFERENCE] == by_reference.epochs[0].criterion
    assert point[OWN] != point[BY_REFERENCE]
    assert np.isfinite(point["targets"]["lab"]["pred_bpm"]).all()
    if trial.arm == "mask":
        assert found["recordings"]["living"] == len(LIVING)
        assert len(by_reference.provenance["rejected"]) == 11 - len(LIVING)


def test_arms_choose_their_recordings():
    kept = {arm: kept_recordings(replace(MASKED, arm=arm)) for arm in PEER_ARMS}
    assert kept == {
        "plain": tuple(range(11)),
        "filter": LIVING,
        "mask": LIVING,
        "oracle": LIVING,
    }


@pytest.mark.slow
def test_a_filtered_folder_spends_its_clips_on_what_it_keeps():
    found = run_contaminated_peer(replace(MASKED, arm="filter"))
    assert found["recordings"]["living"] == len(LIVING)
    assert (found["clips_per_epoch"], found["epochs"]) == (4, 2)
    assert found["skipped_steps"] == 0
    assert [point["clips"] for point in found["points"]] == [4, 4, 4, 8, 8]


def test_a_network_at_half_the_rate_gives_a_wave_at_the_frames_rate():
    def peer(frames, fps):
        assert fps == 15
        return frames.mean((1, 2, 3), dtype=np.float64)

    peer.net = SimpleNamespace(config=SimpleNamespace(fps=15.0))
    sine = np.sin(2 * np.pi * 1.2 * np.arange(300) / 30)
    frames = np.broadcast_to(sine[:, None, None, None], (300, 2, 2, 3)).astype(np.float32)
    wave = AtNetworkRate(peer)(frames, 30.0)
    assert wave.shape == (300,)
    assert wave[:-1] == pytest.approx(sine[:-1], abs=0.1)  # the last frame is held


def test_keys_and_descriptions():
    changes = [{}, *({"arm": arm} for arm in ("filter", "mask", "oracle"))]
    changes += [{"dead": 0.4}, {"clips": 8}, {"seed": 1}, {"curve_subjects": 2}]
    assert len({key(replace(PLAIN, **change)) for change in changes}) == len(changes)
    assert Trial.from_json(PLAIN.to_json()) == PLAIN
    assert not {"arm", "dead", "clips"} & Trial("fcus", "lab").to_json().keys()
    assert "clips" not in Trial("fcus", "lab", arm="none").to_json()
    with pytest.raises(InputError, match="without an arm"):
        Trial("contrast-phys", "lab")
    with pytest.raises(InputError, match="contrast-phys has no arm 'living'"):
        replace(PLAIN, arm="living")
    with pytest.raises(InputError, match=r"choose one of plain, filter, mask, oracle"):
        replace(PLAIN, arm="", dead=0.4)


# ---- Claims -------------------------------------------------------------------------------------


def study(error_bpm, seeds=5, failed=(), exact=(), criteria=None):
    """Return a study in which the last point's error is what `error_bpm` says of share and arm.

    Args:
        criteria: function from the index of a point to both criteria; the error at a point is 10
            bpm more for each point before the last.
    """
    results = {}
    exact = set(exact)
    for seed in range(seeds):
        for dead in SHARES:
            for arm in {measured_arm(arm, dead, exact) for arm in PEER_ARMS}:
                trial = Trial("contrast-phys", "lab", seed, arm=arm, dead=dead)
                points = []
                for index in range(POINTS):
                    error = error_bpm(dead, arm, seed) + 10 * (POINTS - 1 - index)
                    windows = {
                        "subject": [str(n) for n in range(4)],
                        "true_bpm": [70.0] * 4,
                        "pred_bpm": [70.0 + error + 0.1 * n for n in range(4)],
                        SNR: [-error] * 4,
                    }
                    own, reference = criteria(index) if criteria else (0.5, 0.5)
                    points.append({"targets": {"lab": windows}, OWN: own, BY_REFERENCE: reference})
                results[trial] = {"points": points, "recordings": {}}
                if (seed, arm) in failed:
                    results[trial] = {"points": [], "recordings": {}, "failed": "the loss is nan"}
    return LevelsOnPeers(results, exact)


def last_by_reference(index):
    """The reference's criterion falls, the method's own rises."""
    return 0.1 * index, 1 - 0.1 * index


def test_claims_by_hand():
    table = {"plain": 12.0, "mask": 4.0, "oracle": 3.0, "filter": 4.0}
    gained = study(lambda dead, arm, seed: table[arm] if dead else 5.0, criteria=last_by_reference)
    assert [claim.holds for claim in judge(gained)] == [True, True, True, True]
    assert [claim.holds for claim in judge(gained, asked=False)] == [None] * 4
    assert gained.difference("plain", 0.4, MAE).mean == pytest.approx(-8)
    assert gained.difference("plain", 0.4, SNR).mean == pytest.approx(+8)
    assert gained.mean(0.4, "mask", MAE, 0) == pytest.approx(4 + 40 + 0.15)
    assert gained.selection(0.4, "plain", MAE).mean == pytest.approx(-40)
    costly = study(lambda dead, arm, seed: {"mask": 9.0, "oracle": 6.5}.get(arm, 7.5))
    assert [claim.holds for claim in judge(costly)] == [False, False, False, False]
    by_chance = [-30.0, 10.0, -20.0, 10.0, 10.0]
    chance = study(lambda dead, arm, seed: 40.0 + by_chance[seed] * (arm == "mask"))
    assert chance.difference("plain", 0.4, MAE).mean == pytest.approx(-4)
    assert not judge(chance)[0].holds


def test_a_criterion_keeps_the_point_where_it_is_lowest():
    values = [math.nan, 0.4, 0.2, 0.3, 0.2]
    found = study(lambda dead, arm, seed: 1.0, criteria=lambda index: (0.9 - index, values[index]))
    assert found.chosen(0.4, "plain", 0, OWN) == POINTS - 1
    assert found.chosen(0.4, "plain", 0, BY_REFERENCE) == 2
    assert not judge(found)[3].holds  # it keeps an earlier point, which has a larger error


def test_trainings_that_are_alike_are_measured_once():
    kept = {"mask": (0, 1), "oracle": (0, 1)}
    assert exact_shares(lambda dead, arm: kept[arm]) == {0.4}
    assert exact_shares(lambda dead, arm: arm) == set()
    found = study(lambda dead, arm, seed: {"mask": 3.0, "plain": 5.0}.get(arm, 9.0), exact={0.4})
    assert found.mean(0.4, "oracle", MAE) == found.mean(0.4, "mask", MAE) < 4
    assert found.mean(0.0, "oracle", MAE) == found.mean(0.0, "plain", MAE) > 4
    assert "the same training" in judge(found)[1].found
    apart = study(lambda dead, arm, seed: {"mask": 3.0, "plain": 5.0}.get(arm, 9.0))
    assert apart.mean(0.4, "oracle", MAE) > 9


def test_trainings_that_diverged_are_left_out_with_their_partners():
    found = study(
        lambda dead, arm, seed: 9.0 + seed * 100 - 5 * (arm == "mask"), failed=[(4, "plain")]
    )
    assert len(found.failed) == len(SHARES)
    assert found.difference("plain", 0.4, MAE).mean == pytest.approx(-5)
    assert (
        study(lambda *_: 1.0, seeds=1, failed=[(0, "mask")]).difference("plain", 0.4, MAE) is None
    )


def test_sinc_is_named_only_if_it_converges():
    def result(error):
        windows = {"subject": ["0"], "true_bpm": [70.0], "pred_bpm": [70.0 + error]}
        return {"points": [{"clips": 648, "targets": {"lab": windows}}]}

    assert describe_sinc(result(4.0), "lab", 15.0).endswith("MAE 4.00 bpm after 648 clips.")
    assert "did not converge in 648 clips: MAE 16" in describe_sinc(result(16.0), "lab", 15.0)
    assert "the loss is nan" in describe_sinc({"failed": "the loss is nan"}, "lab", 15.0)


@pytest.mark.slow
def test_the_program_writes_what_it_prints_and_resumes(tmp_path, capsys):
    out = tmp_path / "found.json"
    command = ["--quick", "--test-subjects", "1", "--trials", str(tmp_path), "--out", str(out)]
    levels_on_peers.main(command)
    found = json.loads(out.read_text())
    assert [claim["holds"] for claim in found["claims"]] == [None] * 4
    assert found["oracle_is_mask"] == [0.4]
    assert found["recordings"]["0.4"]["plain"]["dead"] == 11 - len(LIVING)
    assert out.with_suffix(".svg").exists()
    assert len(list(tmp_path.glob("trials/*.json"))) == 7  # plain, filter, mask twice, and SiNC
    capsys.readouterr()
    levels_on_peers.main(command)
    assert "7 of 7 trials are finished already" in capsys.readouterr().out
    assert json.loads(out.read_text()) == found
