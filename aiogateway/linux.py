"""What a worker asks of the kernel and the C library before it serves. Each is best effort, and told when it fails."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Final

import structlog

Buffer = bytes | memoryview

log = structlog.get_logger(__name__)

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_PR_SET_PDEATHSIG: Final = 1
# Bytes from which what is stored for long has memory of its own, and of a page of that.
APART: Final = 64 << 10
PAGE: Final = 4096


def tune_allocator(mmap_threshold: int = 32 << 20, trim_threshold: int = 64 << 20) -> bool:
    """Keep buffers of a quarter MiB on the heap; glibc maps and unmaps each, which is most of what an upload costs.

    :param mmap_threshold: bytes from which an allocation is mapped by itself.
    :param trim_threshold: free bytes at the heap's top from which it shrinks.
    :returns: whether the C library took it; musl, for one, has no such knobs.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        log.info("the C library has no mallopt: bulk transfers cost more")
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, mmap_threshold)) and bool(mallopt(_M_TRIM_THRESHOLD, trim_threshold))


def apart(data: bytes) -> Buffer:
    """The same bytes in memory that is mapped for them alone, if there are at least `APART`.

    What is kept for long and given up in any order leaves holes in the heap, which nothing else fits in. The kernel
    counts private neighbours as one mapping, of which a process has 65,530 at most; past that they stay where they are.
    """
    if len(data) < APART:
        return data
    try:
        mapped = mmap(-1, len(data), MAP_PRIVATE | MAP_ANONYMOUS)
    except OSError:
        return data
    mapped[:] = data
    return memoryview(mapped)


def raise_descriptor_limit() -> int:
    """Allow as many open descriptors as the hard limit has; answers how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            log.warning("the descriptor limit could not be raised", soft=soft, hard=hard)
            return soft
    return hard


def descriptor_limit() -> int:
    """How many descriptors may be open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def die_with_parent(parent: int) -> None:
    """Be sent SIGTERM when the parent dies, so that no worker outlives it unseen.

    :param parent: its process id; when it is gone already, SIGTERM comes at once.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        log.warning("prctl failed: workers may outlive their parent", errno=ctypes.get_errno())
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
