"""Tests of optimizer wrappers against the contract and the laws: `check_wrapper(build)`."""

from gradreg.testing.check import Outcome, Report, check_wrapper, inspect_wrapper
from gradreg.testing.contract import CONTRACT
from gradreg.testing.laws import LAWS
from gradreg.testing.subject import Iteration, NotOfferedError, Subject

__all__ = [
    "CONTRACT",
    "LAWS",
    "Iteration",
    "NotOfferedError",
    "Outcome",
    "Report",
    "Subject",
    "check_wrapper",
    "inspect_wrapper",
]
