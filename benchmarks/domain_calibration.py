"""Difficulty of the synthetic domains: `python -m benchmarks.domain_calibration`.

Prints, for each domain, the mean absolute error in 10 s windows of a constant guess, every
classical method, POS and CHROM with the skin mask, the untrained network, and an oracle: the
beamformer over all regions and channels that knows the true signature and the true covariance of
everything but the pulse, from a second rendering of the same recording without a pulse. Training
subjects only. Writes `docs/results/domain_calibration.json` after each domain, so an interrupted
program continues (`--again` starts from scratch). Prints the tables of `docs/results.md` last.

Of a filmed domain with a codec, the second recording is encoded anew, and the encoder decides
otherwise where the pulse was: the oracle's nuisance has its own coding noise, not that of the
recording. The signature is the difference projected on the true BVP, where coding noise averages
out.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import classical_methods
from benchmarks.measure_domains import all_domain_arguments, chosen_domains, measure_domains
from benchmarks.results import markdown_table
from rppg.estimators.fcus import untrained
from rppg.evaluation import ConstantGuess, Estimator, constant_guess, evaluate
from rppg.signals import bandpass, resample, resample_frames, uniform_grid
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import DOMAINS, Domain
from rppg.synthetic.filmed.domains import FILMED_DOMAINS
from rppg.synthetic.subjects import draw_subject, render_crops
from rppg.types import CROP_TO_FACE, FaceCrops, Recording

Errors = Mapping[str, tuple[float, float]]
"""Mean absolute error in bpm and its standard error, by method."""
COLUMNS = {
    "constant": "constant guess",
    "green": "GREEN",
    "chrom": "CHROM",
    "chrom+skin": "CHROM, skin mask",
    "pos": "POS",
    "pos+skin": "POS, skin mask",
    "untrained": "untrained network",
    "oracle": "oracle",
}
"""The methods that the tables show, and their headings."""
FPS = 30.0
REGIONS = 4
LOADING = 3e-3


def main() -> None:
    """Measure, print, write."""
    options = all_domain_arguments(__doc__, "domain_calibration", subjects=40).parse_args()
    settings: dict[str, Any] = {"subjects": options.subjects, "window_s": 10.0, "split": "train"}
    settings["classical"] = list(classical_methods())

    def report(domain: Domain, errors: Errors) -> None:
        cells = "  ".join(f"{name} {mae:5.2f} ± {se:.2f}" for name, (mae, se) in errors.items())
        print(f"{domain.key:10} {cells}", flush=True)

    measure_domains(
        options.out,
        settings,
        lambda domain: measure_domain(domain, options.subjects),
        again=options.again,
        report=report,
        domains=chosen_domains(options),
    )
    found = json.loads(options.out.read_text(encoding="utf-8"))["domains"]
    for domains in (DOMAINS, FILMED_DOMAINS):
        print(f"\n{difficulty_table(domains.values(), found)}")


def difficulty_table(domains: Iterable[Domain], found: Mapping[str, Errors]) -> str:
    """Return a Markdown table of those of the domains that were measured."""
    rows = [
        [f"`{domain.key}`", domain.mirrors]
        + [f"{mae:.2f} ± {se:.2f}" for mae, se in (found[domain.key][name] for name in COLUMNS)]
        for domain in domains
        if domain.key in found
    ]
    return markdown_table(["domain", "mirrors", *COLUMNS.values()], rows)


def measure_domain(domain: Domain, subjects: int) -> dict[str, tuple[float, float]]:
    """Return the mean absolute error in bpm and its standard error, by method."""
    recordings = synthetic_recordings(domain.name, "train", subjects)
    methods: dict[str, Estimator | ConstantGuess] = {
        "constant": constant_guess(sum(domain.hr_bpm) / 2),
        **classical_methods(),
        "untrained": untrained(),
    }
    scores = evaluate(recordings, methods).summary()
    results = {s.method: (s.mae_bpm.value, s.mae_bpm.se) for s in scores}
    # Each recording has an oracle of its own.
    errors = [
        abs(row.hr_pred_bpm - row.hr_true_bpm)
        for number, recording in enumerate(recordings)
        for row in evaluate([recording], {"oracle": Oracle(domain, number, recording)}).windows
    ]
    results["oracle"] = (float(np.mean(errors)), float(np.std(errors) / np.sqrt(len(errors))))
    return {name: (round(mae, 3), round(se, 3)) for name, (mae, se) in results.items()}


class Oracle:
    """An estimator that knows the signature and the nuisance of one recording."""

    def __init__(self, domain: Domain, number: int, recording: Recording) -> None:
        with_pulse = recording.load_crops()
        without = render_crops(draw_subject(domain, number), pulse_gain=0.0)
        assert recording.load_truth is not None
        truth = recording.load_truth()
        grid_s = uniform_grid(with_pulse.times_s, FPS)
        bvp = bandpass(resample(truth.bvp, truth.times_s, grid_s), FPS)
        self.nuisance = _traces(without, grid_s)
        pulse = _traces(with_pulse, grid_s) - self.nuisance
        self.signature = -(pulse @ bvp) / (bvp @ bvp)

    def __call__(self, frames: NDArray[np.float32], fps: float) -> NDArray[np.float64]:
        """Return the BVP of its recording."""
        count = min(len(frames), self.nuisance.shape[-1])
        traces = _regions(frames)[:, :count]
        bvp = np.zeros(len(frames))
        windows = max(1, count // round(10 * fps))
        for span in np.array_split(np.arange(count), windows):
            part = self.nuisance[:, span]
            q = part @ part.T / part.shape[-1]
            q += LOADING * np.trace(q) / len(q) * np.eye(len(q))
            bvp[span] = -np.linalg.solve(q, self.signature) @ traces[:, span]
        return bvp


def _traces(crops: FaceCrops, grid_s: NDArray[np.float64]) -> NDArray[np.float64]:
    return _regions(resample_frames(crops.frames, crops.times_s, grid_s))


def _regions(frames: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return in-band AC/DC traces `(R² · C, T)` of a grid of regions over the face box."""
    size = frames.shape[1]
    margin = round(size * (1 - 1 / CROP_TO_FACE) / 2)
    cell = (size - 2 * margin) // REGIONS
    face = frames[:, margin : margin + cell * REGIONS, margin : margin + cell * REGIONS]
    cells = face.reshape(len(face), REGIONS, cell, REGIONS, cell, -1).mean((2, 4))
    traces = cells.reshape(len(face), -1).T.astype(np.float64)
    return bandpass(traces / traces.mean(1, keepdims=True) - 1, FPS)


if __name__ == "__main__":
    main()
