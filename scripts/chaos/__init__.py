"""Fault injection into real runs, whose bits are then compared."""
