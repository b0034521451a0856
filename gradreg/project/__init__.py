"""Feature level: weight updates stay out of the subspace that noise features span."""

from gradreg.project.coverage import Coverage, ParameterCoverage
from gradreg.project.level import NullSpaceProjector

__all__ = ["Coverage", "NullSpaceProjector", "ParameterCoverage"]
