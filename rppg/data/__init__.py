"""Datasets by name: from a SPEC on the command line to records."""
