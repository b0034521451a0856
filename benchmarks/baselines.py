"""The classical methods that are rows of every table."""

from rppg.estimators.find import TABLE, find_estimator
from rppg.evaluation import Estimator


def classical_methods() -> dict[str, Estimator]:
    """Return the estimators by name; `pos+skin` is POS on the pixels that are skin."""
    return {name: find_estimator(name) for name in TABLE if name not in ("fcus", "untrained")}
