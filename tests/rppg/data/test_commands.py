"""`rppg check`, `evaluate` and `train` on files: what is bad is named, and the rest goes on."""

import json
import re

import pytest

from rppg.cli import main


@pytest.fixture
def rppg(capsys, tmp_path_factory, monkeypatch):
    """`rppg("check", ...)`: exit code, stdout, stderr."""
    monkeypatch.setenv("RPPG_CACHE", str(tmp_path_factory.getbasetemp() / "rppg-cache"))

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return ended.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def study(tmp_path_factory, write):
    """Two good recordings of 12 s, a video cut off, one of 2 s, and one whose truth is gone."""
    root = tmp_path_factory.mktemp("study")
    for name, seconds in (("a", 12), ("b", 12), ("short", 2), ("cut", 12), ("blind", 12)):
        write.video(root / f"{name}.avi", seconds)
        write.truth(root / f"{name}.csv", seconds)
    whole = (root / "cut.avi").read_bytes()
    (root / "cut.avi").write_bytes(whole[: len(whole) // 2])
    (root / "blind.csv").unlink()
    names = ("a", "b", "short", "cut", "blind")
    head = "video,ground_truth,subject,light\n"
    rows = [f"{name}.avi,{name}.csv,{name},{'sun' if name < 'b' else 'lamp'}\n" for name in names]
    (root / "all.csv").write_text(head + "".join(rows))
    (root / "good.csv").write_text(head + "".join(rows[:2]))
    return root


def test_check_says_ok_and_exits_with_0(rppg, study):
    code, out, err = rppg("check", study / "good.csv")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "a.avi  ok", "b.avi  ok", "2 recordings: 0 with defects, 0 of them can't be used"
    ]  # fmt: skip


def test_check_lists_each_defect_and_exits_with_2(rppg, study):
    code, out, err = rppg("check", study / "all.csv")
    assert (code, err) == (2, "")
    *lines, last = out.splitlines()
    assert last == "5 recordings: 3 with defects, 3 of them can't be used"
    reported = {line.split("  ")[0]: line for line in lines}
    assert reported["a.avi"] == "a.avi  ok"
    assert (
        "cut.avi  truncated  can't be used" in out and str(study / "cut.avi") in reported["cut.avi"]
    )
    assert "blind.avi  missing  can't be used" in reported["blind.avi"]
    assert "short.avi  short" in reported["short.avi"]


def test_check_as_json(rppg, study):
    code, out, err = rppg("check", f"{study / 'all.csv'}?light=lamp", "--json")
    assert (code, err) == (2, "")
    recordings = json.loads(out)["records"]
    assert [recording["record"] for recording in recordings] == [
        "b.avi", "short.avi", "cut.avi", "blind.avi"
    ]  # fmt: skip
    assert [recording["usable"] for recording in recordings] == [True, False, False, False]
    (defect,) = recordings[3]["defects"]
    assert set(defect) == {"dataset", "record", "kind", "message", "fatal"}
    assert defect["kind"] == "missing" and recordings[3]["metadata"] == {"light": "lamp"}


def test_check_of_nothing(rppg, tmp_path):
    code, out, err = rppg("check", f"pure:{tmp_path}")
    assert (code, out) == (2, "")
    assert err.startswith(f"rppg: {tmp_path}: no recording of PURE") and err.count("\n") == 1


def test_datasets_are_listed_with_layout_and_filters(rppg):
    code, out, _ = rppg("datasets")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    for name in ("ubfc-rppg", "pure", "cohface", "mmpd", "vipl-hr", "ubfc-phys", "scamps", "ibvp",
                 "buaa-mihr", "bp4d", "manifest", "folder"):  # fmt: skip
        assert f"{name}:PATH" in lines
    assert "skin_type" in lines["mmpd:PATH"] and "subjectN/pN_K.mat" in lines["mmpd:PATH"]


def test_evaluate_lists_failures_and_goes_on(rppg, study):
    spec = f"{study / 'all.csv'}?face=full"
    code, out, err = rppg("evaluate", "--data", spec, "--method", "green", "--json")
    assert code == 0
    reported = json.loads(out)
    assert {row["record"] for row in reported["windows"]} == {"a.avi", "b.avi"}
    (data,) = reported["data"]
    assert (data["spec"], data["split"]) == (spec, "all")
    assert (data["subjects"], data["n_subjects"], data["recordings"]) == (["a", "b"], 2, 2)
    assert data["left_out"] == ["short.avi", "cut.avi", "blind.avi"]
    assert {row["metadata"]["light"] for row in reported["windows"]} == {"sun", "lamp"}
    for row in reported["windows"]:
        assert row["hr_true_bpm"] == pytest.approx(72, abs=0.3)
        assert row["hr_pred_bpm"] == pytest.approx(72, abs=0.3)
    lines = err.splitlines()
    assert sorted(line.split(":")[0] for line in lines) == ["blind.avi", "cut.avi", "short.avi"]


def test_evaluate_recordings_shorter_than_a_window(rppg, dataset):
    root, _ = dataset("scamps")
    code, out, err = rppg(
        "evaluate", "--data", f"scamps:{root}?split=validation", "--method", "pos"
    )
    assert (code, out) == (2, "")
    assert err == (
        "rppg: no window of 10 s could be evaluated: P000012: video and ground truth share 6.4 s, "
        "less than a window of 10 s; give longer recordings\n"
    )


def test_train_leaves_bad_recordings_out_by_name(rppg, study, tmp_path, caplog):
    config = tmp_path / "small.toml"
    config.write_text("clip_s = 5.0\nbatch_size = 2\n")
    code, out, err = rppg(
        "train", "--data", f"{study / 'all.csv'}?face=full", "--config", config,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, err
    assert "Left out: 2 recordings" in out
    left = re.findall(r"left out: (\S+)", caplog.text)
    assert [path.rsplit("/", 1)[-1] for path in left] == ["short.avi:", "cut.avi:"]
    assert "2 of 5 recordings are left out" in caplog.text
    made = json.loads((tmp_path / "run" / "checkpoint.json").read_text())["provenance"]
    assert made["recordings"] == 3 and made["subjects"] == 3  # without a look at the labels
    assert len(made["skipped"]) == 2
    (data,) = made["data"]
    assert data["subjects"] == ["a", "b", "blind"] and data["recordings"] == 3
    assert data["left_out"] == ["short.avi", "cut.avi"]
    assert made["config"]["data"] == [f"{study / 'all.csv'}?face=full"]


def test_train_with_nothing_left(rppg, study, tmp_path):
    code, out, err = rppg(
        "train", "--data", f"{study / 'good.csv'}?face=900,900,5,5", "--out", tmp_path / "run"
    )
    assert (code, out) == (2, "")
    assert "none of the 2 recordings can be used" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_what_a_method_was_trained_on_is_marked_everywhere(rppg, write, tmp_path):
    study = tmp_path / "study"
    study.mkdir()
    for name, seconds in (("a", 12), ("b", 14)):
        write.video(study / f"{name}.avi", seconds)
        write.truth(study / f"{name}.csv", seconds)
    rows = ("video,ground_truth,subject", "a.avi,a.csv,a", "b.avi,b.csv,b")
    (study / "all.csv").write_text("\n".join(rows))
    config = tmp_path / "small.toml"
    config.write_text("clip_s = 5.0\nbatch_size = 2\n")
    run, out = tmp_path / "run", tmp_path / "out"
    code, _, err = rppg(
        "train", "--data", f"{study / 'all.csv'}?face=full&subject=a", "--config", config,
        "--out", run,
    )  # fmt: skip
    assert code == 0, err
    evaluation = (
        "evaluate", "--data", f"{study / 'all.csv'}?face=full",
        "--checkpoint", f"mine={run / 'checkpoint.safetensors'}", "--method", "green",
        "--window", 6, "--hr", "peaks", "--out", out, "--waves", tmp_path / "waves",
    )  # fmt: skip
    code, text, err = rppg(*evaluation)
    assert code == 0, err
    assert "mine †" in text and "green †" not in text
    assert "windows of 6.0 s, heart rates from peaks" in text
    note = "1 of 2 recordings were in its training data"
    assert f": {note}" in " ".join(text.split())
    assert (
        note in (out / "report.html").read_text() and "mine †" in (out / "report.html").read_text()
    )
    latex = (out / "scores.tex").read_text()
    assert r"mine$^\dagger$ & " in latex and note in latex and r"green$" not in latex
    results = json.loads((out / "metrics.json").read_text())
    assert [(t["record"], t["method"]) for t in results["trained_on"]] == [("a.avi", "mine")]
    counted = {s["method"]: (s["trained_on"], s["recordings"]) for s in results["summary"]["clips"]}
    assert counted == {"mine": (1, 2), "green": (0, 2)}
    assert {row["end_s"] - row["start_s"] for row in results["windows"]} == {6.0}
    files = sorted((tmp_path / "waves").rglob("*.csv"))
    assert [file.name for file in files] == ["a.avi.csv", "b.avi.csv"]
    head, first, *_ = files[0].read_text().splitlines()
    assert head == "time_s,true,mine,green" and first.startswith("0.000000,")
