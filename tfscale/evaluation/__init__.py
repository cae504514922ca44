"""Evaluation suites: figures of a trained model that are the same on any number of processes."""
