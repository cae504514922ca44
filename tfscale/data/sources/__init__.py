"""Sources of examples: one file for each format, NumPy only."""
