"""Checks of the projector's numerical options."""


def check_shares(**shares: float) -> None:
    """Raise a ValueError that names the first option outside [0, 1]."""
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ValueError(f"expected 0 <= {name} <= 1, found {value}")


def check_at_least(least: int, **numbers: int) -> None:
    """Raise a ValueError that names the first option below `least`."""
    for name, value in numbers.items():
        if value < least:
            raise ValueError(f"expected {name} >= {least}, found {value}")
