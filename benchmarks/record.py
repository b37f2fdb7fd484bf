"""What is written down: the result so far, and what it was computed with."""

import contextlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

from jaxfer.training.run_folder import versions


def circumstances(threads: int) -> dict[str, Any]:
    """Versions, processor and threads."""
    found = versions()
    for package in ("torch", "scikit-learn"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return {"versions": found, "processor": processor(), "threads": threads}


def processor() -> str:
    """The processor's name, where the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "unknown"


def write(out: Path, result: dict[str, Any]) -> None:
    """Writes what there is so far."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n")
