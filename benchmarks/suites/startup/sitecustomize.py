"""Wraps every optimizer of a Python process, if its environment asks for it.

Python imports this module at its start, if this folder is on PYTHONPATH. So processes that a test
starts wrap their optimizers as well.
"""

import os

from benchmarks.suites import substitution

wrapper = os.environ.get(substitution.WRAPPER)
if wrapper:
    substitution.wrap_when_torch_is_imported(wrapper)
