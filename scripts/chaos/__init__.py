"""Injects faults into real runs and compares their bits."""
