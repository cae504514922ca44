"""Throws damaged and hostile settings at the command line."""
