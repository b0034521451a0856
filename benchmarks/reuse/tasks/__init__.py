"""The tasks, by name."""

from benchmarks.reuse.tasks import adaptation, autoencoder, blindspot, contrastive, separation
from benchmarks.reuse.tasks.task import Metric, Task

TASKS: dict[str, Task] = {
    module.TASK.name: module.TASK
    for module in (adaptation, contrastive, autoencoder, separation, blindspot)
}

__all__ = ["TASKS", "Metric", "Task"]
