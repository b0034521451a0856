"""Is another person noticed without a cut? `python -m benchmarks.person_changes`.

Rendered people of each domain, who move and talk, leave or are hidden for 3 s. Then the next
subject comes in the same room, or the same one comes back: at another place, turned by up to 0.25
rad, and in half of the recordings in other light (brighter or dimmer by up to 65 %, of another
colour, with more or less of it from all sides). The crops are rendered with the errors of a track;
the face isn't detected. Prints how many changes are found, by difference of the skin types, and how
many of those who come back are false alarms. The threshold was chosen on other subjects, of the
training split. Writes `docs/results/person_changes.json`.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure_domains import domain_arguments, measure_domains
from rppg.synthetic.cache import SPLITS
from rppg.synthetic.domains import Domain, Light
from rppg.synthetic.pulse_motion_light import TimeSeries
from rppg.synthetic.render import Viewport, render
from rppg.synthetic.subjects import SyntheticSubject, draw_subject
from rppg.types import CROP_TO_FACE
from rppg.video.crop import CROP_SIZE
from rppg.video.person_changes import PersonChanges
from rppg.video.tracked_crop import Crop

Array = NDArray[np.float64]

FPS = 5
SEEN_S, LOST_S = 5.5, 3.0
"""Time in view before and after, and between them."""
TRACK_ERROR = 0.03
"""Deviation of the crop's place and size, in face sides."""


def main() -> None:
    """Measure, print, write."""
    parser = domain_arguments(__doc__, "person_changes", subjects=40)
    options = parser.parse_args()
    settings = {"subjects": options.subjects, "split": "validation"}
    totals: list[dict[str, Any]] = []

    def report(domain: Domain, result: dict[str, Any]) -> None:
        totals.append(result)
        print(f"{domain.key:10} {summary([result])}", flush=True)

    measure_domains(
        options.out,
        settings,
        lambda domain: measure_domain(domain, options.subjects),
        again=options.again,
        report=report,
    )
    print(f"{'all':10} {summary(totals)}")


def measure_domain(domain: Domain, subjects: int) -> dict[str, Any]:
    """Return a row for each pair of visits: the skin types, and what was noticed."""
    people = [
        draw_subject(domain, SPLITS["validation"] + number, 2 * SEEN_S + LOST_S)
        for number in range(subjects)
    ]
    rows: dict[str, Any] = {"others": [], "same": []}
    for number, person in enumerate(people):
        for kind, second in (("others", people[(number + 1) % subjects]), ("same", person)):
            skin = [p.profile.skin_type for p in (person, second)]
            lit = number % 2 == 0
            found = is_noticed(person, second, np.random.default_rng(number), lit=lit)
            rows[kind].append({"skin": skin, "lit": lit, "noticed": found})
    return rows


def summary(results: Sequence[dict[str, Any]]) -> str:
    """Return the numbers of changes found, and of false alarms, in a line."""
    others = [row for result in results for row in result["others"]]
    same = [row for result in results for row in result["same"]]
    by_skin = []
    for low, high in ((0, 0), (1, 1), (2, 5)):
        rows = [row for row in others if low <= abs(np.diff(row["skin"])[0]) <= high]
        name = f"{low}" if low == high else f"{low} or more"
        by_skin.append(f"{count(rows)} at {name} skin types apart")
    dim = [row for row in same if row["lit"]]
    return (
        f"changes found {count(others)} ({', '.join(by_skin)}); "
        f"false alarms {count(same)} (in other light {count(dim)})"
    )


def count(rows: Sequence[dict[str, Any]]) -> str:
    """Return how many of the rows were noticed."""
    return f"{sum(row['noticed'] for row in rows)} of {len(rows)}"


def is_noticed(
    first: SyntheticSubject, second: SyntheticSubject, rng: np.random.Generator, *, lit: bool
) -> bool:
    """Return whether another person is noticed where the second comes after the first.

    Args:
        rng: draws the track's errors, the pose and the light.
        lit: whether the second visit is in other light.
    """
    light, gain = first.profile.light, 1.0
    if lit:
        light, gain = other_light(light, rng), float(np.exp(rng.uniform(-0.5, 0.5)))
    second = replace(
        second,
        head=replace(second.head, wall=first.head.wall),
        profile=replace(second.profile, light=light, camera=first.profile.camera),
        spill=first.spill,
    )
    pose = {"x": rng.uniform(-0.5, 0.5), "yaw": rng.uniform(-0.25, 0.25)}
    pose |= {"y": rng.uniform(-0.2, 0.2), "pitch": rng.uniform(-0.1, 0.1)}
    before = visit(first, 0.0, {}, 1.0, rng)
    after = visit(second, SEEN_S + LOST_S, pose, gain, rng)
    lost = [before[-1]._replace(time_s=SEEN_S + at, is_valid=False) for at in (0.5, 1.5)]
    people = PersonChanges("benchmark")
    passed = [crop for one in before + lost + after for crop in people.add(one)]
    return (passed + people.finish())[-1].scene > 0


def visit(
    subject: SyntheticSubject,
    start_s: float,
    pose: dict[str, float],
    gain: float,
    rng: np.random.Generator,
) -> list[Crop]:
    """Render crops of a subject at some times of its recording, moved by `pose`."""
    whole = subject.series
    times_s = start_s + np.arange(round(SEEN_S * FPS)) / FPS
    at = np.minimum(np.searchsorted(whole.times_s, times_s), len(whole.times_s) - 1)
    series = TimeSeries(**{field.name: getattr(whole, field.name)[at] for field in fields(whole)})
    moved = {name: getattr(series, name) + shift for name, shift in pose.items()}
    series = replace(series, **moved, key=gain * series.key)
    shift_x, shift_y, larger = rng.normal(0, TRACK_ERROR, 3)
    scale = CROP_SIZE / CROP_TO_FACE * (1 + larger)
    frames = render(
        replace(subject.scene_setup, series=series),
        Viewport(series.x + shift_x, series.y + shift_y, CROP_SIZE, CROP_SIZE, scale),
        seed=subject.noise_seed,
    )
    box = (0.0, 0.0, 1.0, 1.0)
    return [
        Crop(float(time_s), frame, box, is_valid=True, is_key=False, repeats=False, scene=0)
        for time_s, frame in zip(times_s, frames, strict=True)
    ]


def other_light(light: Light, rng: np.random.Generator) -> Light:
    """Return a light of another colour, with another share from all sides."""
    red, green, blue = light.key_rgb
    warmer = float(np.exp(rng.uniform(-0.15, 0.15)))
    ambient = float(rng.uniform(0.2, 0.8))
    return replace(light, key_rgb=(red * warmer, green, blue / warmer), ambient=ambient)


if __name__ == "__main__":
    main()
