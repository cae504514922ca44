"""Codes that sparse elements are written in: one file a code, all behind `base.Codec`."""
