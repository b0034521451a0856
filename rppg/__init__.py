"""FCUS-rPPG: unsupervised remote photoplethysmography, trained with `gradreg`."""

import sys

from rppg.moved_modules import OldNames

__version__ = "0.1.0"

sys.meta_path.append(OldNames())
