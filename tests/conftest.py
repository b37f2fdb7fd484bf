"""What every test shares. Nothing here imports JAX: a test that needs flags sets them first."""

import gc
import os
import sys
import tempfile
from pathlib import Path

import pytest

collect_ignore = [  # programs, and they need PyTorch
    "models/golden/make_golden.py",
    "models/golden/make_peft.py",
]

# The tolerances are those of a CPU; `JAX_PLATFORMS=cuda make test` asks for another platform.
os.environ.setdefault("JAX_PLATFORMS", "cpu")


def pytest_configure(config):
    """Compiles once what several tests or programs of theirs ask for: it is kept, by each worker.

    The fast tests also compile in a hurry: small programs, of which most run once. Before JAX is
    imported; a test's own flags stand in the place of these.
    """
    kept = tempfile.TemporaryDirectory(prefix="jaxfer-compiled-")
    config.add_cleanup(kept.cleanup)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = kept.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    if config.option.markexpr.startswith("not slow"):
        os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data that JAXFER_DATA_DIR names; without it the test is skipped."""
    named = os.environ.get("JAXFER_DATA_DIR")
    if not named:
        pytest.skip("real data: set JAXFER_DATA_DIR to the folder that holds them")
    folder = Path(named).expanduser().resolve()
    if not folder.is_dir():
        pytest.fail(f"JAXFER_DATA_DIR is {folder}, which is not a folder")
    return folder


def pytest_runtest_teardown(item, nextitem):
    """Lets go of compiled programs after each file, and after each slow test.

    XLA maps every kernel of a program into memory by itself. A long session that keeps them all
    reaches the number of mappings that Linux grants a process (65530), and ends in a crash.
    """
    same_file = nextitem is not None and nextitem.path == item.path
    if "jax" in sys.modules and (
        not same_file or any(map(item.get_closest_marker, ("slow", "thorough")))
    ):
        sys.modules["jax"].clear_caches()
        gc.collect()
