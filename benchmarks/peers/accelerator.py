"""Memory on a GPU, as JAX counts it."""

import jax


def jax_device_bytes() -> int | None:
    """The most memory that was ever in use on the first device; None where it keeps no count."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics.get("peak_bytes_in_use")
