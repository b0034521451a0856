"""Values that JSON can hold: it knows no NaN and no infinity."""

import math
from collections.abc import Mapping


def finite_or_null(value: object) -> object:
    """Return the value with every float that isn't finite replaced by None, also inside.

    Mappings become dicts with string keys; tuples and lists become lists.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite_or_null(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(item) for item in value]
    return value
