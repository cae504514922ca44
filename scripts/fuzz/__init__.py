"""Runs the command line on damaged and hostile settings."""
