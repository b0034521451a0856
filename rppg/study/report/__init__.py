"""The report of a study: one HTML file, a section in each module."""
