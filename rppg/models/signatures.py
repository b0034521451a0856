"""Pulse signatures: how a pulse moves the colour channels."""

NOMINAL_SIGNATURES = (
    (0.527, 0.762, 0.377),
    (0.439, 0.765, 0.471),
    (0.342, 0.756, 0.559),
    (0.241, 0.734, 0.635),
    (0.141, 0.702, 0.698),
)
"""Relative pulse amplitude in R, G, B of cameras from a reddish to a bluish one: a line through the
published signature (.33, .77, .53) (de Haan & van Leest, 2014), the low-dimensional manifold on
which the network locates each clip. The line itself is not learned: an epoch on one camera would
move it to that camera, and away from all others."""
