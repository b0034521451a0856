"""The tables of docs/results.md show the numbers in docs/results/*.json."""

import json
import re
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from statistics import mean, median
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "results.md").read_text(encoding="utf-8")
LIMITS = (DOCS / "limits.md").read_text(encoding="utf-8")
DOMAINS = ("lab", "webcam", "codec", "mobile", "wild")
METHODS = {
    "FCUS-rPPG, one epoch": "fcus",
    "FCUS-rPPG, shipped": "fcus",
    "the same after one epoch on the clip itself, without labels": "adapted",
    "the same network, untrained": "untrained",
    "the same, continuity": "fcus, continuity",
    "constant guess": "constant",
}

ERROR = ("mae_bpm", "se_bpm")
SHOWN_METHODS = ("green", "chrom", "chrom+skin", "pos", "pos+skin", "untrained", "fcus")


def load(name: str) -> Any:
    return json.loads((DOCS / f"results/{name}.json").read_text(encoding="utf-8"))


def table(heading: str, index: int = 0, page: str = PAGE) -> dict[str, list[float]]:
    """Return the numbers in each row of a section's table, by the row's first cell."""
    section = re.split(rf"^#+ {re.escape(heading)}\n", page, flags=re.MULTILINE)[1]
    section = re.split(r"^#+ ", section, flags=re.MULTILINE)[0]
    lines = re.findall(r"((?:^\|.*\n)+)", section, re.MULTILINE)[index].splitlines()[2:]
    rows = {}
    for line in lines:
        first, *cells = line.replace("−", "-").strip("| ").split(" | ")
        numbers = re.findall(r"(?<![\w@.])[+-]?\d+(?:\.\d+)?", " ".join(cells).replace("–", " "))
        rows[first.strip("`").split("`")[0]] = [float(number) for number in numbers]
    return rows


def spread(values: Iterable[float]) -> list[float]:
    """Return the median, the lowest and the highest."""
    values = list(values)
    return [median(values), min(values), max(values)]


def flat(cells: Iterable[list[float]]) -> list[float]:
    return list(chain.from_iterable(cells))


def assert_shown(shown: list[float], measured: list[float], digits: int = 2) -> None:
    assert shown == pytest.approx(measured, abs=0.5 * 10**-digits + 1e-3)


def test_one_epoch_on_one_camera() -> None:
    measured = load("one_epoch_error")["mae_bpm"]
    for name, shown in table("One epoch on one camera").items():
        method = METHODS.get(name, name.lower().replace(", skin mask", "+skin"))
        values = [measured[f"synthetic:{d}@1"][method] for d in ("lab", "webcam", "wild")]
        expected = [spread(v) if "one epoch" in name else [v[0]] for v in values]
        assert_shown(shown, flat(expected))


def test_shipped() -> None:
    measured = load("shipped")["domains"]
    shown = table("The shipped network")
    assert list(shown) == list(measured)
    for domain, row in measured.items():
        errors = [row[m][key] for m in ("fcus", "untrained", "pos+skin") for key in ERROR]
        ours = row["fcus"]
        assert_shown(shown[domain][:6], errors)
        shares = [100 * ours[key] for key in ("wrong", "reliable", "wrong_if_reliable")]
        assert_shown(shown[domain][6:], shares, digits=1)


def test_a_second_compression() -> None:
    measured = load("reencoding")["domains"]
    shown = table("A second compression")
    assert list(shown) == list(measured)
    for domain, row in measured.items():
        ours, pos = row["fcus"], row["pos+skin"]
        times = [found[when]["mae_bpm"] for found in (ours, pos) for when in ("before", "after")]
        assert_shown(shown[domain][:2] + shown[domain][5:7], times)
        assert_shown(shown[domain][2:5], [ours["ratio"], *ours["interval"]], digits=1)
        shares = [100 * ours[when]["reliable"] for when in ("before", "after")]
        assert_shown(shown[domain][7:], shares, digits=0)


def test_what_a_measurement_needs() -> None:
    measured = load("limits")["curves"]
    shown = table("What a measurement needs", page=LIMITS)
    levels = {f"{c}, {n}": row for c, rows in measured.items() for n, row in rows.items()}
    assert set(shown) == set(levels)
    for name, row in levels.items():
        ours, pos = row["fcus"], row["pos+skin"]
        assert_shown(shown[name][:2], [ours[key] for key in ERROR])
        assert_shown(shown[name][2:4], [100 * ours[key] for key in ("wrong", "reliable")], digits=0)
        assert_shown(shown[name][4:6], [pos[key] for key in ERROR])
        assert_shown(shown[name][6:], [100 * pos["wrong"]], digits=0)


def test_continuity() -> None:
    conditions = load("continuity")["conditions"]
    shown = table("Do a window's neighbours help?")
    assert len(shown) == len(conditions)
    for name, condition in conditions.items():
        domain, seconds = name.split("@")[0], name.rsplit(", ", 1)[1]
        kind = f"recovery, {seconds}" if "rhythm=recovery" in name else seconds
        expected = []
        for row in condition.values():
            changed = [row["better"], -row["worse"]]
            errors = [row["mae_bpm"], row["continuity_mae_bpm"]]
            expected += [*errors, *(changed if any(changed) else [])]
        assert_shown(shown[f"{domain}, {kind}"], expected)


def test_another_camera() -> None:
    found = load("cross_domain")
    columns = {name.lower().removesuffix(" guess"): row for name, row in found["columns"].items()}
    columns |= {name.lower(): row for name, row in found["continuity"].items()}
    for name, shown in table("Does it carry to another camera?").items():
        row = [columns[METHODS.get(name, name.lower())][domain] for domain in DOMAINS]
        assert_shown(shown, [*row, mean(row)])
    for name, shown in table("Does it carry to another camera?", 1).items():
        cells = [spread(found["matrix"]["fcus"][name][domain]) for domain in DOMAINS]
        assert_shown(shown, flat(cells))


def test_people_s_own_videos() -> None:
    found = load("all_domains")
    columns = {"FCUS-rPPG, one epoch": found["columns"]["fcus, median"]} | found["columns"]
    heading = "Does it carry to people's own videos?"
    for name, shown in table(heading).items():
        row = columns[METHODS.get(name, name) if "untrained" in name else name]
        assert_shown(shown, list(row.values()))
    for name, shown in table(heading, 1).items():
        assert_shown(shown, flat(map(spread, found["matrix"]["fcus"][name].values())))


def test_kept_trials_give_the_table_across_cameras() -> None:
    """Each cell is the mean error of the windows that are kept."""
    matrix = load("cross_domain")["matrix"]["fcus"]
    lines = (DOCS / "results/studies/cross_domain/trials.jsonl").read_text(encoding="utf-8")
    cells = 0
    for result in map(json.loads, lines.splitlines()):
        trial = result["trial"]
        source = "".join(part["dataset"] for part in trial["training"])
        if trial["method"] != "fcus":
            continue
        for test in result["tests"].values():
            if test["identity"]["protocol"]["continuity"]:
                continue
            (windows,) = test["windows"].values()
            pairs = zip(windows["hr_pred_bpm"], windows["hr_true_bpm"], strict=True)
            error = mean(abs(predicted - true) for predicted, true in pairs)
            shown = matrix[source][test["part"]["dataset"]][trial["seed"]]
            assert error == pytest.approx(shown, abs=1e-3)
            cells += 1
    assert cells == len(DOMAINS) ** 2 * len(matrix["lab"]["lab"])


def test_epochs() -> None:
    curves = load("convergence")["curves"]
    for epoch, shown in table("Is one epoch enough?").items():
        index = 0 if epoch == "untrained" else int(epoch)
        points = [curves[source][index] for source in ("webcam", "mobile", "wild")]
        cells = [spread(point["mae_bpm"]) for point in points]
        expected = [cell[0] for cell in cells] if index == 0 else flat(cells)
        assert_shown(shown, [points[0]["clips"], *expected])


def test_quality() -> None:
    found = load("quality_tuned")
    rows = {"with a pulse": [found["groups"][f"{d}@1/fcus"]["reliable"] for d in DOMAINS]}
    kinds = found["settings"]["kinds"]
    rows |= {
        kind: [found["reliable_without_a_pulse"][f"{d}@1/fcus/{kind}"] for d in DOMAINS]
        for kind in kinds
    }
    shown = table("Does low quality mean a large error?")
    assert shown.keys() == rows.keys()
    for name, row in rows.items():
        assert_shown(shown[name], row, 3)
    rules = found["trade_off"]["fcus"]
    shown_rules = table("Does low quality mean a large error?", 1).values()
    measured = [*(rules["quality"][i] for i in (0, 4)), rules["quality of the wave alone"][0]]
    for shown_row, row in zip(shown_rules, [*measured, rules["POS agrees"][0]], strict=True):
        assert_shown(shown_row, [row["kept"], row["dead"], row["worst"]], 3)
    share = f"{100 * rules['quality'][0]['dead']:.1f} %"
    for page in ("results.md", "how-to/predict.md"):
        assert share in (DOCS / page).read_text(encoding="utf-8"), page


def test_the_wave() -> None:
    measured = load("refined_wave")["domains"]
    shown = table("The wave")
    assert shown.keys() == measured.keys()
    for domain, row in measured.items():
        *correlations, share = shown[domain]
        assert_shown(correlations, [row["measured"], row["refined"], row["sine"]], 3)
        assert share == pytest.approx(100 * row["refined_above_sine"], abs=0.51)


def test_heart_rate_variability() -> None:
    measured = load("variability")["domains"]
    shown = table("Heart rate variability")
    keys = ("error_ms", "largest_error_ms", "uncertainty_ms", "raw_error_ms", "true_ms")
    labels = {"fcus": "FCUS", "pos": "POS"}
    assert len(shown) == 4 * len(measured)
    for domain, methods in measured.items():
        for method, of_method in methods.items():
            for name, row in of_method.items():
                known, total, close, covered, *numbers = shown[
                    f"{domain}, {labels[method]}, {name.upper()}"
                ]
                assert total == row["recordings"] == known + row["without_value"]
                assert (close, covered) == (row["close"], row["covered"])
                expected = [row[key] for key in keys if row[key] is not None]
                assert_shown(numbers, expected, 1)


def test_a_real_face() -> None:
    measured = load("real_video")["methods"]
    keys = ("error_bpm", "track_mae_bpm", "correlation", "refined_correlation")
    shown = table("A real face")
    assert len(shown) == len(measured)
    for name, row in shown.items():
        method = METHODS.get(name, name.lower().replace(", skin mask", "+skin"))
        assert_shown(row, [measured[method][key] for key in keys], 3)


def test_layouts() -> None:
    measured = {row["layout"]: row for row in load("layouts")["domains"].values()}
    shown = table("From files as downloaded to the table")
    assert shown.keys() == measured.keys()
    for layout, row in measured.items():
        cells = [row["mae"][key] for key in SHOWN_METHODS]
        assert_shown(shown[layout][-1 - 2 * len(SHOWN_METHODS) :], [row["windows"], *flat(cells)])


def test_calibration() -> None:
    measured = load("domain_calibration")["domains"]
    keys = ("constant", *SHOWN_METHODS[:-1], "oracle")
    shown = table("Are the synthetic domains as hard as what they mirror?")
    assert list(shown) == [f"{name}@1" for name in DOMAINS]
    shown |= table("People's own videos: `stream`, `dim`, `phone`")
    assert shown.keys() == measured.keys()
    for domain, row in measured.items():
        assert_shown(shown[domain], flat(row[key] for key in keys))


def test_which_level_helps_where() -> None:
    found = load("contamination")
    page = (DOCS / "which-level.md").read_text(encoding="utf-8").replace("−", "-")
    numbers = {
        tuple(line.strip("| ").split(" | ")[:2]): [
            float(n) for n in re.findall(r"\d+\.\d+", line.split("%", 1)[1])
        ]
        for line in re.findall(r"^\| \d+ % \|.*$", page, re.MULTILINE)
    }
    arms = {"no mask": "none", "mask": "new", "oracle mask": "oracle", "cleaned first": "cleaned"}
    assert len(numbers) == 11
    means = found["means"]["epoch 1"]
    for (share, arm), shown in numbers.items():
        dead = f"{int(share.split()[0]) / 100:g}"
        cells = [
            means[metric][source][dead][arms[arm]]
            for source in ("webcam", "mobile", "wild", "all")
            for metric in ("snr_db", "mae_bpm")
        ]
        assert_shown(shown, cells)
