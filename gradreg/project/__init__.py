"""Feature level: weight updates stay out of the subspace that noise features span."""

from gradreg.project.level import NullSpaceProjector

__all__ = ["NullSpaceProjector"]
