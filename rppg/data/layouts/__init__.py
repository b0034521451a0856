"""The on-disk layouts of the public datasets, one module each."""
