"""The commands: `rppg NAME` is the function of that name in `NAME.py`."""
