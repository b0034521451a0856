"""The pulse from a camera as it happens: frames are pushed, readings come back."""

from rppg.live.monitor import Monitor
from rppg.live.reading import Reading, State

__all__ = ["Monitor", "Reading", "State"]
