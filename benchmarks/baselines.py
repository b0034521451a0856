"""The classical methods that stand in every table: all of them, and the best with a skin mask."""

from rppg.evaluation import Estimator, classical
from rppg.methods import METHODS

WITH_SKIN = ("pos", "chrom")
"""The methods that are also shown with the skin mask: the strongest baselines."""


def classical_methods() -> dict[str, Estimator]:
    """Return the estimators by name; `pos+skin` is POS on the skin's pixels only."""
    methods = {name: classical(name) for name in METHODS}
    return methods | {f"{name}+skin": classical(name, skin=True) for name in WITH_SKIN}
