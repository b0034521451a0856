"""The shipped network on all eight synthetic domains: `python -m benchmarks.shipped`.

Test subjects of each domain. Prints, for the shipped network, the untrained one and POS with the
skin mask, the mean absolute error in 10 s windows, the share of windows that are wrong by more than
5 bpm, the share that counts as reliable, and the share of these that is wrong; last, which claims
hold. Writes `docs/results/shipped.json` after each domain, so an interrupted program continues
(`--again` starts from scratch).
"""

from dataclasses import asdict
from typing import Any

from benchmarks.accuracy import accuracy
from benchmarks.measure_domains import chosen_domains, measure_domains, tested_arguments
from benchmarks.study.output import Claim, print_claims
from rppg.estimators.fcus import untrained
from rppg.estimators.find import find_estimator
from rppg.evaluation import evaluate
from rppg.synthetic.cache import synthetic_recordings
from rppg.synthetic.domains import Domain

OURS = "fcus"
MOST_WRONG = 0.02
"""Highest share of wrong windows among the reliable ones of a domain."""


def main() -> None:
    """Measure, print, write."""
    options = tested_arguments(__doc__, "shipped", subjects=60).parse_args()
    settings = {"split": options.split, "subjects": options.subjects, "window_s": 10.0}
    claims: list[Claim] = []

    def report(domain: Domain, row: dict[str, Any]) -> None:
        print(domain.key)
        for name, found in row.items():
            print(f"  {name:10}", "  ".join(f"{key} {value}" for key, value in found.items()))
        wrong, reliable = row[OURS]["wrong_if_reliable"], row[OURS]["reliable"]
        words = "none reliable" if wrong is None else f"{wrong:.1%} of the {reliable:.0%} reliable"
        title = f"{domain.name}: at most {MOST_WRONG:.0%} of the reliable windows wrong"
        claims.append(Claim(title, words, None if wrong is None else wrong <= MOST_WRONG))

    measure_domains(
        options.out,
        settings,
        lambda domain: measure(domain, options.split, options.subjects),
        again=options.again,
        report=report,
        domains=chosen_domains(options),
    )
    print_claims(claims)


def measure(domain: Domain, split: str, subjects: int) -> dict[str, Any]:
    """Return the accuracy of each method."""
    methods = {OURS: find_estimator(OURS), "untrained": untrained()}
    methods["pos+skin"] = find_estimator("pos+skin")
    windows = evaluate(synthetic_recordings(domain.name, split, subjects), methods).windows
    return {name: asdict(accuracy(windows, name)) for name in methods}


if __name__ == "__main__":
    main()
