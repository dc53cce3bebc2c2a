"""How the C library keeps the memory that tensors leave behind."""

import ctypes

from sercorr.fast import enabled

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST = (64 << 20, 32 << 20)


def keep_freed_memory() -> bool:
    """Let tensors of this process reuse memory; say whether the C library agreed.

    By default glibc gives large blocks back to the system at once. The next tensor of
    that size comes as pages that the system clears one by one at their first touch:
    a hundred megabytes of them for five seconds of audio in a base-size model. Blocks
    of up to 64 MiB (32 in old releases) are kept from now on. Larger ones are not:
    what lies between kept blocks can be several times what is in use. Where there is
    no glibc, or under ``SERCORR_FAST=0``, nothing is changed.
    """
    if not enabled():
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    taken = any(mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST)
    return taken and bool(mallopt(_TRIM_THRESHOLD, -1))
