"""What each wrapper costs beside bare AdamW: `python -m benchmarks.overhead`."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or torch's profiler reports every start and stop
