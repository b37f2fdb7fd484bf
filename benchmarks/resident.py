"""How much memory this process holds, now and at most."""

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident_bytes() -> int:
    """What is in memory now; on systems without ``/proc`` the most that ever was."""
    if _STATUS.exists():
        return _field("VmRSS")
    return peak_bytes()


def peak_bytes() -> int:
    """The most that was in memory since `forget_peak`, or ever where that is not possible."""
    if _STATUS.exists():
        return _field("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> None:
    """Gives what is free back to the system and starts `peak_bytes` anew."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _field(name: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} has no {name} on {os.uname().sysname}.")
