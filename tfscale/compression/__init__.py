"""Fewer bytes for the same training: codecs, backends, thresholds, error feedback."""
