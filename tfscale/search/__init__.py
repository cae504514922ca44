"""Sweeps: a process a job. No TensorFlow."""
