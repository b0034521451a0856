"""The cache of face crops: its files, their keys, and the functions that fill and read it."""
