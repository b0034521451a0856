"""Feature level: weight updates stay out of the subspace that noise features span.

The wrapper and its step:  level
Which layers:              choose_weights, covered_weight, layers
Their features:            observation, attention, unfold, tokens
What is learnt of them:    observed_weights, weight, sketch, subspace
Which directions:          selection, refresh
The projection:            update, weight_as_matrix
Checks and reports:        check_options, one_time_warnings, coverage
"""

from gradreg.project.coverage import Coverage, ParameterCoverage
from gradreg.project.level import NullSpaceProjector

__all__ = ["Coverage", "NullSpaceProjector", "ParameterCoverage"]
