"""The on-disk layouts of the datasets, one module each, with its tree drawn in the docstring."""
