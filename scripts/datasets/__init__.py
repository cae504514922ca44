"""Writes real data sets into files as users have them: tables, folders of images, arrays."""
