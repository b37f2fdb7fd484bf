"""Double precision where a test compares with a reference to many digits."""

import jax
import pytest


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield
