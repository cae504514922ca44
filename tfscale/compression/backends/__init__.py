"""Backends that compute the heavy parts of a compressed exchange: C++ kernels, or TensorFlow operations."""
