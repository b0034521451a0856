"""Studies on tiny videos: what is bad is named, what is stored isn't computed again, and neither
shards nor SIGKILL change the result."""

import csv
import json
import re
import shutil
import signal
from pathlib import Path

import pytest

from rppg.cli import main
from rppg.data.fingerprint import fingerprints
from rppg.data.specs import open_datasets
from rppg.models.checkpoint import SHIPPED
from rppg.study.documents import without_timing

AT_A_WRITE = """
import os, signal, sys
from pathlib import Path
from rppg.cli import main

left = int(sys.argv[1])
replace = Path.replace

def moved(self, target):
    global left
    left -= 1
    done = replace(self, target)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

Path.replace = moved
main(sys.argv[2:])
"""


@pytest.fixture
def benchmark(capsys, tmp_path_factory, monkeypatch):
    """`benchmark(...)`: exit code, stdout, stderr."""
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path_factory.getbasetemp() / "rppg-cache"))

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["benchmark", *(str(argument) for argument in arguments)])
        return ended.value.code or 0, *capsys.readouterr()

    return run


def written(out: Path) -> object:
    """All documents without durations and dates."""
    report = re.sub('<section id="timing">.*', "", (out / "study.html").read_text(), flags=re.S)
    tables = [(out / f"study.{kind}").read_text() for kind in ("csv", "tex")]
    return without_timing(out / "study.json"), tables, report


def stamps(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "trials").iterdir()}


def ends(process) -> str:
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return err


@pytest.mark.slow
def test_what_is_bad_is_named_and_the_rest_completes(benchmark, study_file, tmp_path):
    out = tmp_path / "out"
    names = ("one", "damaged", "single", "gone")
    code, table, err = benchmark("--config", study_file(*names), "--out", out)
    assert code == 0, err
    document = json.loads((out / "study.json").read_text())
    assert document["trials"] == {"planned": 13, "missing": []}
    cells = {(c["method"], c["training"], c["test"], c["part"]): c for c in document["cells"]}
    assert ("fcus", "one", "damaged", "whole") in cells
    assert ("fcus", "damaged", "one", "whole") in cells
    assert cells["pos", "", "damaged", "whole"]["n_recordings"] == 3  # of 5
    assert cells["pos", "", "one", "whole"]["n_subjects"] == 5
    assert all((cell["n_windows"] == 0) == (cell["mae_bpm"] is None) for cell in cells.values())
    assert not any(cell["seen"] for cell in cells.values())
    assert cells["pos", "", "one", "whole"]["mae_bpm"] < 1
    reasons = {(entry["kind"], entry["what"]): entry["reason"] for entry in document["left_out"]}
    assert "no such file" in reasons["part", "gone"].lower() or "neither" in reasons["part", "gone"]
    assert "no subject of 1 is in split test" in reasons["part", "single, test"]
    assert ("recording", "damaged: damaged0.avi") in reasons
    assert ("recording", "damaged: damaged1.avi") in reasons
    assert any(kind == "trial" and "on gone" in what for kind, what in reasons)
    report = (out / "study.html").read_text()
    assert all(reason in report for reason in ("no subject of 1 is in split test", "damaged0.avi"))
    assert "pos on one: MAE" in table and "n = 5 windows, 5 subjects" in table


def test_what_is_stored_is_not_run_again(benchmark, study_file, tmp_path):
    out = tmp_path / "out"
    assert benchmark("--config", study_file("one"), "--out", out)[0] == 0
    first, trials = written(out), stamps(out)
    code, _, err = benchmark("--config", study_file("one"), "--out", out)
    assert code == 0 and "4 of 4 trials are finished already" in err
    assert (written(out), stamps(out)) == (first, trials)
    code, plan, _ = benchmark("--config", study_file("one"), "--out", out, "--plan")
    assert code == 0 and "4 trials: 4 finished, 0 to run; 0 can't be run" in plan
    checkpoints = {p: p.stat().st_mtime_ns for p in (out / "runs").rglob("checkpoint.safetensors")}
    assert len(checkpoints) == 1
    # one dataset more: the network that is there is tested on it, and not trained again
    assert benchmark("--config", study_file("one", "two"), "--out", out)[0] == 0
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in checkpoints.items())
    rows = list(csv.DictReader((out / "study.csv").open()))
    pairs = {(r["training"], r["test"], r["part"]) for r in rows if r["method"] == "fcus"}
    assert pairs == {
        ("one", "one", "test"), ("one", "two", "whole"), ("two", "two", "test"),
        ("two", "one", "whole"),
    }  # fmt: skip
    # seeds, which pos doesn't have
    before = stamps(out)
    benchmark("--config", study_file("one", "two"), "--out", out, "--seeds", 2)
    after = stamps(out)
    assert {name: after[name] for name in before} == before
    assert sorted(name.split("-")[0] for name in after.keys() - before) == [
        "fcus", "fcus", "untrained"
    ]  # fmt: skip


def test_a_training_that_fails_takes_no_other_along(benchmark, study_file, tmp_path):
    out = tmp_path / "out"
    settings = 'methods = ["fcus", "pos"]\nseeds = 1\n[settings.fcus]\nclip_s = 15.0\n'
    file = study_file("one", settings=settings)  # its videos last 12 s
    code, _, err = benchmark("--config", file, "--out", out)
    assert code == 0 and "fcus; on one, training; seed 0: failed: none of the 3 recordings" in err
    document = json.loads((out / "study.json").read_text())
    (failed,) = document["left_out"]
    assert failed["kind"] == "trial" and "shorter than a clip of 15 s" in failed["reason"]
    assert {cell["method"] for cell in document["cells"]} == {"pos"}
    code, _, err = benchmark("--config", file, "--out", out)
    assert "2 of 2 trials are finished already" in err  # it would fail again


def test_a_failure_by_circumstance_is_tried_again(benchmark, study_file, tmp_path, monkeypatch):
    out = tmp_path / "out"
    file = study_file("one", settings='methods = ["pos"]\nseeds = 1\n')

    def full(*_, **__):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("rppg.study.evaluate_part.evaluate", full)
        assert benchmark("--config", file, "--out", out)[0] == 0
    document = json.loads((out / "study.json").read_text())
    assert {entry["reason"] for entry in document["left_out"]} == {"MemoryError: MemoryError"}
    assert benchmark("--config", file, "--out", out)[0] == 0
    document = json.loads((out / "study.json").read_text())
    assert not document["left_out"] and len(document["cells"]) == 2


def test_a_checkpoint_is_a_row_and_what_it_was_trained_on_is_marked(
    benchmark, study_file, datasets, tmp_path
):
    known = open_datasets([str(datasets / "single.csv")], split="test", subjects=1)
    about = json.loads(SHIPPED.with_suffix(".json").read_text())
    named = ["--checkpoint", f"lost={tmp_path / 'lost.safetensors'}"]
    for name, trained_on in {"knows": fingerprints(known), "new": []}.items():
        about["provenance"]["fingerprints"] = trained_on
        (tmp_path / f"{name}.json").write_text(json.dumps(about))
        (tmp_path / f"{name}.safetensors").write_bytes(SHIPPED.read_bytes())
        named += ["--checkpoint", f"{name}={tmp_path / name}.safetensors"]
    out, file = tmp_path / "out", study_file("single", settings='methods = ["pos"]\n')
    code, table, err = benchmark("--config", file, "--out", out, *named, "--hr", "peaks")
    assert code == 0 and err.count(f"lost: can't be used: {tmp_path / 'lost.safetensors'}: no") == 1
    document = json.loads((out / "study.json").read_text())
    assert document["study"]["checkpoints"]["new"] == f"{tmp_path / 'new'}.safetensors"
    assert document["study"]["evaluation"]["hr"] == "peaks"
    seen = {(c["method"], c["test"], c["part"]): c["seen"] for c in document["cells"]}
    assert seen == {
        ("knows", "single", "whole"): 1, ("new", "single", "whole"): 0,
        ("pos", "single", "whole"): 0,
    }  # fmt: skip
    assert "knows on single: MAE" in table


@pytest.mark.slow
def test_waves_are_those_of_evaluate_and_a_trial_without_its_own_is_tested_again(
    benchmark, study_file, datasets, tmp_path, capsys
):
    out, file = tmp_path / "out", study_file("one", settings='methods = ["pos", "constant"]\n')
    assert benchmark("--config", file, "--out", out)[0] == 0
    before, tables = stamps(out), written(out)
    assert not (out / "waves").exists()
    code, _, err = benchmark("--config", file, "--out", out, "--waves")
    assert code == 0 and "1 of 2 trials are finished already" in err  # a constant has no wave
    changed = [name for name, stamp in stamps(out).items() if before[name] != stamp]
    (folder,) = (out / "waves").iterdir()
    assert changed == [f"{folder.name}.json"] and folder.name.startswith("pos-")
    with pytest.raises(SystemExit):
        spec = f"{datasets / 'one.csv'}?face=full"
        main(["evaluate", "--data", spec, "--method", "pos", "--waves", str(tmp_path / "waves")])
    capsys.readouterr()
    expected = {p.name: p.read_text() for p in (tmp_path / "waves").rglob("*.csv")}
    assert {p.name: p.read_text() for p in (folder / "whole/one").iterdir()} == expected
    assert len(expected) == 5 and len(list((folder / "test/one").iterdir())) == 1
    (document, rows, *_), (plain, plain_rows, *_) = written(out), tables
    assert document["cells"] == plain["cells"] and rows == plain_rows
    assert "2 of 2" in benchmark("--config", file, "--out", out, "--waves")[2]
    assert "2 of 2" in benchmark("--config", file, "--out", out)[2]
    shutil.rmtree(folder / "test")
    (folder / "whole/one/gone.csv").touch()
    assert "1 of 2" in benchmark("--config", file, "--out", out, "--waves")[2]
    assert len(list((folder / "test/one").iterdir())) == 1


def test_the_plan_is_measured(benchmark, study_file, tmp_path):
    out = tmp_path / "out"
    code, plan, _ = benchmark("--config", study_file("one"), "--out", out, "--plan", "--jobs", 2)
    assert code == 0
    lines = plan.splitlines()
    assert lines[0] == "4 trials: 0 finished, 4 to run; 0 can't be run"
    assert lines[1].startswith("  fcus: 1 trials, ") and lines[1].endswith("by a measured epoch")
    assert any(line.startswith("Time: ") and line.endswith("2 processes") for line in lines)
    assert any(line.startswith("Disk: ") for line in lines)
    assert not (out / "trials").exists()


def test_other_protocols(benchmark, study_file, tmp_path):
    settings = (
        'methods=["fcus", "pos"]\nseeds=1\nfolds=2\n'
        "[settings.fcus]\nclip_s=5.0\nbatch_size=2\nepochs=2\n"
    )
    file = study_file("one", settings=settings)
    assert benchmark("--config", file, "--out", tmp_path / "i", "--protocol", "intra")[0] == 0
    document = json.loads((tmp_path / "i" / "study.json").read_text())
    fcus, pos = document["cells"]
    assert (fcus["part"], fcus["n_subjects"], fcus["n_windows"]) == ("folds", 5, 5)
    assert (pos["n_subjects"], pos["n_windows"]) == (5, 5)
    assert benchmark("--config", file, "--out", tmp_path / "c", "--protocol", "convergence")[0] == 0
    document = json.loads((tmp_path / "c" / "study.json").read_text())
    curve = [(point["epoch"], point["clips"]) for point in document["curves"]]
    assert [epoch for epoch, _ in curve] == [1, 2] and curve[1][1] == 2 * curve[0][1] > 0
    ends = [cell for cell in document["cells"] if cell["method"] == "fcus"]
    assert [cell["epoch"] for cell in ends] == [2]


@pytest.mark.slow
def test_shards_end_in_the_same_result(benchmark, study_file, tmp_path):
    whole, shards = tmp_path / "whole", tmp_path / "shards"
    file = study_file("one", "two", settings='methods=["pos", "chrom", "constant"]\nseeds=1\n')
    assert benchmark("--config", file, "--out", whole)[0] == 0
    code, _, err = benchmark("--config", file, "--out", shards, "--shard", "2/2")
    assert code == 0 and "3 of 6 trials haven't been run yet" in err
    assert benchmark("--config", file, "--out", shards, "--shard", "1/2")[0] == 0
    assert written(shards) == written(whole)


@pytest.mark.slow
def test_killed_and_continued(start, study_file, tmp_path):
    file, whole, out = study_file("one", "two"), tmp_path / "whole", tmp_path / "out"
    ends(start("--config", file, "--out", whole))
    codes = []
    for renamed in range(5, 60, 3):  # ever later: a training begins anew within its first minute
        process = start("--config", file, "--out", out, program=("-c", AT_A_WRITE, str(renamed)))
        process.communicate(timeout=300)
        codes.append(process.returncode)
        if codes[-1] == 0:
            break
    assert codes == [-signal.SIGKILL] * (len(codes) - 1) + [0] and len(codes) >= 3
    assert written(out) == written(whole)
    assert not list((out / "claims").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--shard", "1/2", "--shard", "2/2"), ("", "", "", "")])
def test_two_processes_at_once(start, study_file, tmp_path, options):
    """By shards, or each taking what the other hasn't begun."""
    file, whole, out = study_file("one", "two"), tmp_path / "whole", tmp_path / "out"
    pairs = [[word for word in options[n : n + 2] if word] for n in (0, 2)]
    both = [start("--config", file, "--out", out, *pair) for pair in pairs]
    for process in both:
        ends(process)
    ends(start("--config", file, "--out", whole))
    assert written(out) == written(whole)
    assert not list((out / "claims").iterdir())
