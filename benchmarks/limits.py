"""How much light, bit rate and face a measurement needs: `python -m benchmarks.limits`.

The same synthetic people, filmed once at each level of one condition, while the others stay at a
good webcam's: skin at 110 of 255, H.264 at 2000 kbit/s with a keyframe every 2 s, a face of 160
pixels in frames of 640×480 at 30 frames/s. Prints, for each level, the mean absolute errors of the
shipped network and of POS with the skin mask in 10 s windows, and the shares of windows that are
wrong by more than 5 bpm, and that count as reliable. Writes `docs/results/limits.json` after each
level, so an interrupted program continues (`--again` starts from scratch), and
`docs/results/limits.svg`.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

from matplotlib.figure import Figure

from benchmarks.accuracy import accuracy
from benchmarks.results import arguments, markdown_table, saved_part, write_json
from benchmarks.study.output import save_figure
from rppg.estimators.find import find_estimator
from rppg.evaluation import evaluate
from rppg.report.figure_style import PALETTE, in_house_style
from rppg.synthetic.cache import SPLITS
from rppg.synthetic.filmed.domains import STREAM, FilmedDomain, Filming
from rppg.synthetic.subjects import draw_subject, render_crops
from rppg.types import Recording
from rppg.video.threads import one_thread

GOOD = Filming(
    sizes=((640, 480),),
    faces_px=(160,),
    rates_hz=(30.0,),
    skin_levels=(110,),
    full_wells=(8000,),
    read_noise=(3.0, 3.0),
    codecs=("libx264",),
    bit_rates_kbps=(2000,),
    keyframes_s=(2.0,),
    b_frames=(0,),
)
PEOPLE = replace(STREAM, name="limits", mirrors="a good webcam", filming=GOOD)
"""Skin types 1 to 6, still, talking or swaying, in the light of a lamp, a window or a screen."""
OURS, CLASSICAL = "fcus", "pos+skin"
TITLES = {OURS: "FCUS, shipped", CLASSICAL: "POS, skin mask"}


@dataclass(frozen=True)
class Curve:
    """One condition and its levels.

    Attributes:
        unit: what the levels are, as the axis's label.
        levels: the camera at each, from hard to easy.
    """

    unit: str
    levels: Mapping[int, Filming]


CURVES = {
    "light": Curve(
        "brightness of the skin, of 255",
        {n: replace(GOOD, skin_levels=(n,)) for n in (8, 12, 20, 35, 60, 110)},
    ),
    "bit rate": Curve(
        "bit rate in kbit/s",
        {n: replace(GOOD, bit_rates_kbps=(n,)) for n in (200, 300, 450, 700, 1200, 2000)},
    ),
    "face": Curve(
        "face in pixels", {n: replace(GOOD, faces_px=(n,)) for n in (30, 45, 70, 110, 160, 230)}
    ),
}


def main() -> None:
    """Measure, print, write."""
    parser = arguments(__doc__, "limits")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--subjects", type=int, default=16, help="at each level")
    parser.add_argument("--jobs", type=int, default=1, help="recordings rendered at a time")
    parser.add_argument("--again", action="store_true", help="measure all levels again")
    options = parser.parse_args()
    settings = {"split": options.split, "subjects": options.subjects, "window_s": 10.0}
    found = {} if options.again else saved_part(options.out, "curves", settings)
    measured: dict[Filming, Any] = {}  # the good webcam is a level of each curve
    for name, curve in CURVES.items():
        row = found.setdefault(name, {})
        for level, filming in curve.levels.items():
            if str(level) not in row:
                domain = replace(PEOPLE, filming=filming)
                row[str(level)] = measured.get(filming) or measure(
                    domain, options.split, options.subjects, options.jobs
                )
                write_json(options.out, {"settings": settings, "curves": found})
            measured[filming] = row[str(level)]
            print(name, level, row[str(level)][OURS], flush=True)
    print(f"\n{limits_table(found)}")
    save_figure(draw(found), options.out.with_suffix(".svg"))


@one_thread()  # torch's threads and the encoders would wait for each other
def measure(domain: FilmedDomain, split: str, subjects: int, jobs: int) -> dict[str, Any]:
    """Return the accuracy of each method on the people of a split."""
    numbers = range(SPLITS[split], SPLITS[split] + subjects)
    with ThreadPoolExecutor(jobs) as pool:
        recordings = list(pool.map(lambda number: film(domain, number), numbers))
    methods = {name: find_estimator(name) for name in TITLES}
    windows = evaluate(recordings, methods).windows
    return {name: asdict(accuracy(windows, name)) for name in methods}


def film(domain: FilmedDomain, number: int) -> Recording:
    """Return a recording of one person in memory."""
    subject = draw_subject(domain, number)
    crops = render_crops(subject)
    return Recording(
        name=str(number),
        dataset=domain.name,
        subject=str(number),
        load_crops=lambda: crops,
        load_truth=lambda: subject.truth,
        metadata=subject.profile.metadata,
    )


def limits_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the curves as Markdown."""
    rows = []
    for name, curve in CURVES.items():
        for level in curve.levels:
            row = found[name][str(level)]
            ours, classical = row[OURS], row[CLASSICAL]
            rows.append(
                (
                    f"{name}, {level}",
                    f"{ours['mae_bpm']:.2f} ± {ours['se_bpm']:.2f}",
                    f"{100 * ours['wrong']:.0f}",
                    f"{100 * ours['reliable']:.0f}",
                    f"{classical['mae_bpm']:.2f} ± {classical['se_bpm']:.2f}",
                    f"{100 * classical['wrong']:.0f}",
                )
            )
    ours, classical = TITLES.values()
    head = ("condition", ours, "wrong, %", "reliable, %", classical, "wrong, %")
    return markdown_table(head, rows)


@in_house_style
def draw(found: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw shares of wrong and of reliable windows by level, one panel for each condition."""
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    axes = figure.subplots(1, len(CURVES), sharey=True)
    lines = {"wrong": "o-", "reliable": "o:"}
    for axis, (name, curve) in zip(axes, CURVES.items(), strict=True):
        levels = list(curve.levels)
        for color, (method, title) in zip(PALETTE, TITLES.items(), strict=False):
            for key, style in lines.items():
                shares = [found[name][str(level)][method][key] for level in levels]
                axis.plot(levels, shares, style, color=color, label=f"{title}: {key}")
        axis.set(title=name, xlabel=curve.unit, ylim=(0, 1), xscale="log")
        axis.set_xticks(levels, [str(level) for level in levels])
        axis.minorticks_off()
    axes[0].set_ylabel("share of windows")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


if __name__ == "__main__":
    main()
