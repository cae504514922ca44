"""How this process holds the memory that it has been given."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's settings, see mallopt(3)."""
_LARGEST = 32 << 20
"""Bytes of the largest block that glibc can keep; larger ones are always got anew."""


def keep_freed() -> None:
    """Has glibc keep freed memory, up to 64 MiB a heap, for what is allocated next.

    Otherwise a thread that fills and frees a few megabytes again and again (a checkpoint's tensors become a file's
    bytes) gets its pages anew each time: two thousand page faults a checkpoint of LeNet, which took more processor time
    than writing it. These are the values that glibc itself comes to, at most, as larger and larger blocks are freed.
    Another allocator than glibc's is left alone.
    """
    if hasattr(c := ctypes.CDLL(None), "mallopt"):
        c.mallopt(_MMAP_THRESHOLD, _LARGEST)
        c.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)
