"""Training without labels, on `gradreg`'s three levels."""
