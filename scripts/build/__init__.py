"""Builds what pip cannot: Horovod and the kernels."""
