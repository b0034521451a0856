"""What a CUDA device makes of the project, in under nine minutes: `python -m benchmarks.gpu`.

Any interpreter with torch, NumPy and safetensors runs it; what else it lacks is said in the result,
and the parts that need it are left out. Each part is a process with a limit of its own, and what it
has measured by then counts.
"""
