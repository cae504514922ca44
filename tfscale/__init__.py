"""Declarative, config-driven distributed training for TensorFlow and Keras 3."""

__version__ = "0.1.0"
