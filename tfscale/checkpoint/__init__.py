"""Checkpoints as files: arrays by name, written durably, verified, recovered. Knows neither strategies nor Keras."""
