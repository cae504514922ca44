"""Threshold-compressed exchange of gradients or updates."""
