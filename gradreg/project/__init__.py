"""Feature level: weight updates stay out of the noise subspace."""
