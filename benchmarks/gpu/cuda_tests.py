"""The project's own tests that need a CUDA device, by pytest where it is installed."""

import importlib.util
import os
from collections import Counter

from benchmarks.gpu.parts import ROOT, LeftOutError, Setting
from benchmarks.gpu.tests_on_cuda import REASON
from benchmarks.suites.pytest_run import PytestSuite, run

NEEDED = ("pytest", "hypothesis")
ENDING_S = 5.0


def measure(setting: Setting) -> None:
    """Run the tests that are skipped without a CUDA device."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise LeftOutError(
            f"{', '.join(missing)} not installed; the checks have run without, as plain functions"
        )
    files = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if f'reason="{REASON}"' in path.read_text(encoding="utf-8")
    ]
    minutes = (setting.left_s - ENDING_S) / 60
    os.environ["PYTEST_PLUGINS"] = "benchmarks.gpu.tests_on_cuda"
    found = run(PytestSuite("gradreg and rppg", "CUDA", ROOT, files, minutes=minutes), None)
    results = Counter(outcome.result for outcome in found.outcomes.values())
    setting.save(
        {
            "files": files,
            "files_without_results": [
                file for file in files if not any(test.startswith(file) for test in found.outcomes)
            ],
            "results": dict(results),
            "tests": {
                name: outcome.result
                if outcome.result == "passed"
                else f"{outcome.result}: {outcome.reason}"
                for name, outcome in found.outcomes.items()
            },
            "trouble": found.trouble,
        }
    )
