"""Known data sets and how they get onto a machine."""
