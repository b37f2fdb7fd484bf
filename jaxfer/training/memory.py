"""How much memory does something take, at its peak?"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax

_INTERVAL = 0.02  # seconds between two looks


class PeakMemory:
    """The most memory that was seen so far; ``None`` where it cannot be seen.

    Attributes:
      bytes: above what was taken before.

    >>> PeakMemory().bytes is None
    True
    """

    def __init__(self) -> None:
        self.bytes: int | None = None


class _Reading(NamedTuple):
    at: int
    peak: int


@contextlib.contextmanager
def peak_memory() -> Iterator[PeakMemory]:
    """Measures what a block of code takes beyond what the process had taken before it.

    On an accelerator that is the device's own record, which only rises over the life of a process:
    a later block that takes less than an earlier one is given the difference to that. On a CPU the
    process is looked at fifty times a second, where the system tells (Linux).

    Yields:
      A :class:`PeakMemory`, whose ``bytes`` are there when the block has ended.

    >>> with peak_memory() as peak:
    ...     block = bytearray(50_000_000)
    ...     del block
    >>> peak.bytes is None or peak.bytes >= 0
    True
    """
    peak = PeakMemory()
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        before = stats["bytes_in_use"]
        yield peak
        peak.bytes = (device.memory_stats() or {})["peak_bytes_in_use"] - before
        return
    before_or_none = _resident()
    if before_or_none is None:
        yield peak
        return
    reading = [_Reading(before_or_none, before_or_none)]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_INTERVAL):
            now = _resident() or 0
            reading[0] = _Reading(now, max(now, reading[0].peak))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()
        peak.bytes = max(reading[0].peak, _resident() or 0) - before_or_none


def _resident() -> int | None:
    """Bytes of this process that lie in memory."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
