"""Cost of each wrapper, compared with bare AdamW: `python -m benchmarks.overhead`."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or torch's profiler logs every start and stop
