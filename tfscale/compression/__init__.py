"""Threshold compression: codecs, backends, threshold policies and error feedback."""
