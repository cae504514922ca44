"""Sweeps: grids of overrides, and a process for each job. No TensorFlow."""
