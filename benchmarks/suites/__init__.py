"""Other libraries' test suites, run bare and with every optimizer wrapped neutrally.

`python -m benchmarks.suites --fetch` runs

- torch's optimizer database (`torch_database.py`),
- the tests of Accelerate and of pytorch_optimizer, from their source distributions
  (`sources.py`, `tests_of_others.py`),
- the project's loop tests of Lightning's `Trainer`.

It prints one table and what it could not get, and writes `docs/results/suites.json`. A wrapper
with neutral settings should change nothing, so that a test that passes bare and fails wrapped
shows a fault of the wrapper, or a test that asks for the optimizer's class.
"""
