"""Devices: which ones a run uses, and one step mapped over them.

Nothing else knows of ``jax.pmap``.
"""

import functools
import math
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from jaxfer.training.state import TrainState
from jaxfer.typing import Metrics, PyTree, UserError

_NO_BEST: Any = ()

AXIS_NAME = "batch"
"""The name of the mapped axis, for ``jax.lax.pmean`` and ``jax.lax.axis_index`` inside a step."""

Devices: TypeAlias = Sequence[jax.Device]
Step: TypeAlias = Callable[[TrainState, Any], tuple[TrainState, Metrics]]


def start_multihost(multihost: bool = False) -> int:
    """Joins the other processes of a run, when there are any.

    Asked for by ``multihost`` (the cluster tells JAX the rest), or by the environment: every
    process then gets ``JAX_COORDINATOR_ADDRESS`` (host:port of process 0), ``JAX_NUM_PROCESSES``
    and ``JAX_PROCESS_ID``.

    Args:
      multihost: join even when the environment does not name a coordinator.

    Returns:
      How many processes take part as far as the environment tells; 1 for a run on its own.

    Raises:
      UserError: if the environment is incomplete or the other processes cannot be reached.

    >>> start_multihost()
    1
    """
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    values = [os.environ.get(name) for name in names]
    if not multihost and not any(values):
        return 1
    if any(values) and not all(values):
        absent = " and ".join(name for name, value in zip(names, values, strict=True) if not value)
        raise UserError(
            f"{absent} is not set; a run of several processes needs {', '.join(names)}."
        )
    address, count, index = values
    if jax.distributed.is_initialized():
        return int(count or jax.process_count())
    try:
        if address is None:
            jax.distributed.initialize()
            return 1 if jax.default_backend() == "cpu" else jax.process_count()
        jax.distributed.initialize(address, int(count or 0), int(index or 0))
    except (ValueError, RuntimeError) as error:
        raise UserError(f"The processes of this run could not be joined: {error}") from error
    return int(count or 0)


def configure_devices(
    devices: int | None = None,
    *,
    divides: int | None = None,
    unit: str = "tasks",
    multihost: bool = False,
    deterministic: bool = False,
) -> tuple[jax.Device, ...]:
    """Chooses the devices of a run; to be called before anything else touches JAX's backend.

    On CPU every process gets ``devices`` host devices, each with single-threaded products: one step
    split over two cores this way is faster than one step whose products are threaded.

    Args:
      devices: how many devices each process uses. None takes all accelerators, or on CPU one host
        device per available core, in both cases reduced so that ``divides`` splits evenly.
      divides: how many tasks (or examples) a step has, to be split over all devices; None for any
        number.
      unit: what ``divides`` counts, for the error.
      multihost: see `start_multihost`, which is called first.
      deterministic: have a GPU add in a fixed order, so that the same program gives the same bits.

    Returns:
      The devices, those of every process, in the order in which ``axis_index`` counts them.

    Raises:
      UserError: if more devices are asked for than exist, or ``divides`` does not split evenly.

    >>> len(configure_devices(1, divides=32))
    1
    """
    if devices is not None and devices < 1:
        raise UserError(
            f"--devices is {devices}; give at least 1, or leave it out to use what there is."
        )
    if deterministic:
        _add_xla_flag("--xla_gpu_deterministic_ops=true")
    processes = start_multihost(multihost)
    _check_even(divides, devices or 1, processes, unit)
    share = None if divides is None else divides // processes
    _make_host_devices(devices or _largest_divisor(share, _forced_count() or available_cores()))
    local = jax.local_device_count()
    kind = jax.local_devices()[0].platform
    if devices is not None and devices > local:
        hint = (
            "JAX had started before this choice; start a new Python process"
            if kind == "cpu"
            else f"give --devices {local} or fewer"
        )
        raise UserError(
            f"--devices {devices} asks for more than the {local} {kind} device(s) here; {hint}."
        )
    processes = jax.process_count()
    _check_even(divides, devices or 1, processes, unit)
    share = None if divides is None else divides // processes
    count = devices or _largest_divisor(share, local)
    return tuple(
        device
        for process in range(processes)
        for device in [d for d in jax.devices() if d.process_index == process][:count]
    )


def _check_even(divides: int | None, devices: int, processes: int, unit: str) -> None:
    if divides is None or divides % (devices * processes) == 0:
        return
    across = f"{devices} device(s)" + (
        f" in each of {processes} processes" if processes > 1 else ""
    )
    raise UserError(
        f"{divides} {unit} do not split evenly over {across}; give a multiple of "
        f"{devices * processes} {unit}, or another --devices."
    )


_FORCED = re.compile(r"--xla_force_host_platform_device_count=(\d+)")


def _forced_count() -> int | None:
    found = _FORCED.search(os.environ.get("XLA_FLAGS", ""))
    return int(found[1]) if found else None


def _make_host_devices(count: int) -> None:
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:  # a backend has started: what it has is what there is
        return
    if _forced_count():  # JAX refuses to start when both ways of making host devices are in use
        os.environ["XLA_FLAGS"] = _FORCED.sub("", os.environ["XLA_FLAGS"]).strip()
    if count > 1:
        _add_xla_flag("--xla_cpu_multi_thread_eigen=false")


def _add_xla_flag(flag: str) -> None:
    """Adds a flag, read when a backend starts, unless the environment decides it already."""
    flags = os.environ.get("XLA_FLAGS", "")
    if flag.split("=")[0] not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {flag}".strip()


def _largest_divisor(number: int | None, limit: int) -> int:
    if number is None:
        return limit
    return max(n for n in range(1, max(1, min(number, limit)) + 1) if number % n == 0)


def available_cores() -> int:
    """Counts the processor cores that this process may use: its affinity and its container's quota.

    Returns:
      At least 1.

    >>> available_cores() >= 1
    True
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        quota, period = pathlib.Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        pass
    return max(1, cores)


def local_count(devices: Devices | None) -> int:
    """Counts the devices of this process.

    Args:
      devices: among which to count; None for all.

    Returns:
      How many of them are local.

    >>> local_count(jax.local_devices()[:1])
    1
    """
    if devices is None:
        return jax.local_device_count()
    return sum(device.process_index == jax.process_index() for device in devices)


def _pmap(
    function: Callable[..., Any], devices: Devices | None, **options: Any
) -> Callable[..., Any]:
    everywhere = devices is None or list(devices) == list(jax.devices())
    return jax.pmap(
        function,
        axis_name=AXIS_NAME,
        devices=None if everywhere else list(devices or ()),
        **options,
    )


def _over_runs(
    function: Callable[[Any, Any], Any], *, in_turn: bool = False
) -> Callable[[Any, Any], Any]:
    """``function(run, data)`` for one run, mapped over the leading axis of ``runs``."""

    def mapped(runs: Any, data: Any) -> Any:
        if jax.tree.leaves(runs)[0].shape[0] != 1:
            if in_turn:
                return jax.lax.map(lambda run: function(run, data), runs)
            return jax.vmap(function, in_axes=(0, None))(runs, data)
        # Batching a single run would turn each of its products into a batched product.
        return jax.tree.map(lambda x: x[None], function(jax.tree.map(lambda x: x[0], runs), data))

    return mapped


def compile_step(
    step: Step,
    *,
    devices: Devices | None = None,
    scan_length: int = 1,
    runs_in_turn: bool = False,
) -> Step:
    """Maps a step, written for one run on one device, over runs and devices, and repeats it.

    A run whose new parameters or loss are not finite is frozen where it stood before: ``alive``
    turns False and ``died`` says at which step. The counter ``step`` is kept here; ``best`` is
    ``()`` inside ``step``.

    Args:
      step: ``(run_state, data) -> (run_state, metrics)``: one run, this device's share
        (``axis_index("batch")``) of ``data``; it averages its own gradients and metrics by
        ``pmean(..., "batch")``. ``metrics`` are scalars, one of them ``"loss"``.
      devices: as given by `configure_devices`; None for all.
      scan_length: how many steps one call takes.
      runs_in_turn: whether the runs take each step one after the other instead of at once, by
        ``vmap``. On a CPU that is faster for convolutions, whose patches then stay in the cache.

    Returns:
      A function of a replicated state ``[devices, runs, ...]``, which it consumes, and replicated
      data ``[devices, ...]``; it gives the new state and the metrics
      ``[devices, scan_length, runs]``.

    Raises:
      ValueError: if ``scan_length`` is below 1 or, when traced, ``metrics`` has no ``"loss"``.

    >>> import optax
    >>> from jaxfer.training.state import init_train_state
    >>> def step(run, data):
    ...     error = jnp.mean(data - run.params)
    ...     return run._replace(params=run.params + 0.5 * error), {"loss": error**2}
    >>> state = init_train_state(lambda key: (jnp.zeros(()), {}), optax.sgd(1.0), seeds=[0])
    >>> one = jax.local_devices()[:1]
    >>> take = compile_step(step, devices=one, scan_length=2)
    >>> state, metrics = take(replicate(state, one), replicate(jnp.ones(4), one))
    >>> print(first(state).params, first(metrics)["loss"].ravel())
    [0.75] [1.   0.25]
    """
    if scan_length < 1:
        raise ValueError(f"scan_length is {scan_length}; expected at least 1.")
    over_runs = _over_runs(step, in_turn=runs_in_turn)

    def take(state: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        def one(old: TrainState, _: None) -> tuple[TrainState, Metrics]:
            new, metrics = over_runs(old, data)
            if "loss" not in metrics:
                raise ValueError(
                    f'metrics need "loss", by which a run counts as alive; got {set(metrics)}.'
                )
            return _freeze(old, new, metrics)

        lean = state._replace(best=_NO_BEST)  # not touched by steps, so not carried through them
        if scan_length == 1:
            lean, metrics = one(lean, None)
            metrics = jax.tree.map(lambda x: x[None], metrics)
        else:
            lean, metrics = jax.lax.scan(one, lean, None, length=scan_length)
        return lean._replace(best=state.best), metrics

    return _pmap(take, devices, donate_argnums=0)


def _freeze(old: TrainState, new: TrainState, metrics: Metrics) -> tuple[TrainState, Metrics]:
    finite = functools.reduce(
        jnp.logical_and,
        [
            jnp.all(jnp.isfinite(leaf), axis=tuple(range(1, leaf.ndim)))
            for leaf in jax.tree.leaves(new.params)
            if jnp.issubdtype(leaf.dtype, jnp.inexact)
        ],
        jnp.isfinite(metrics["loss"]),
    )
    alive = old.alive & finite
    new = new._replace(step=old.step + 1, alive=old.alive, died=old.died, best=_NO_BEST)

    def choose(after: jax.Array, before: jax.Array) -> jax.Array:
        return jnp.where(alive.reshape(alive.shape + (1,) * (after.ndim - 1)), after, before)

    frozen = jax.tree.map(choose, new, old)
    died = jnp.where(alive, old.died, old.step + 1)  # a frozen run fails at the same step again
    shown = {name: jnp.where(alive, value, jnp.nan) for name, value in metrics.items()}
    return frozen._replace(alive=alive, died=died), shown


def compile_evaluation(
    evaluate: Callable[[Any, Any], PyTree],
    *,
    devices: Devices | None = None,
    runs_in_turn: bool = False,
) -> Callable[[Any, Any], PyTree]:
    """Maps an evaluation, written for one run on one device, over runs and devices.

    Args:
      evaluate: ``(run, data) -> results``: anything about one run (a state, parameters) and this
        device's share of ``data``; it gathers its own results by ``pmean`` or ``all_gather`` over
        ``"batch"``.
      devices: as given by `configure_devices`; None for all.
      runs_in_turn: as for `compile_step`.

    Returns:
      A function of a tree ``[runs, ...]``, not replicated, and replicated data ``[devices, ...]``;
      it gives the first device's results ``[runs, ...]``.

    >>> one = jax.local_devices()[:1]
    >>> evaluate = compile_evaluation(
    ...     lambda w, x: jax.lax.pmean(jnp.mean(w * x), "batch"), devices=one
    ... )
    >>> print(evaluate(jnp.array([1.0, 2.0]), replicate(jnp.ones(3), one)))
    [1. 2.]
    """
    mapped = _pmap(_over_runs(evaluate, in_turn=runs_in_turn), devices, in_axes=(None, 0))

    def call(runs: Any, data: Any) -> PyTree:
        return first(mapped(runs, data))

    return call


@functools.lru_cache(maxsize=8)
def _replicator(devices: tuple[jax.Device, ...] | None) -> Callable[..., Any]:
    return _pmap(lambda index, tree: tree, devices, in_axes=(0, None))


def replicate(tree: PyTree, devices: Devices | None = None) -> PyTree:
    """Puts a copy of a tree on each device of this process, once.

    Args:
      tree: arrays, the same in every process.
      devices: as given by `configure_devices`; None for all.

    Returns:
      The tree with arrays ``[devices, ...]``, one entry on each device of this process.

    >>> replicate(jnp.zeros(3), jax.local_devices()[:1]).shape
    (1, 3)
    """
    indices = np.arange(local_count(devices))
    return _replicator(None if devices is None else tuple(devices))(indices, tree)


def first(tree: PyTree) -> PyTree:
    """Takes the first local device's copy of a replicated tree.

    Args:
      tree: arrays ``[devices, ...]``, as a mapped function gives them.

    Returns:
      The tree without that axis; it stays on the first device.

    >>> first(replicate(jnp.zeros(3))).shape
    (3,)
    """
    return jax.tree.map(lambda x: x.addressable_shards[0].data.reshape(x.shape[1:]), tree)


def sum_over_processes(buffer: np.ndarray) -> np.ndarray:
    """Adds an array over the processes of a run; all must call it.

    Args:
      buffer: of the same shape and dtype in every process.

    Returns:
      The sum, in every process.

    >>> print(sum_over_processes(np.arange(3)))
    [0 1 2]
    """
    if jax.process_count() == 1:
        return buffer
    # Each process speaks through its first device; the others add nothing.
    shares = np.zeros((jax.local_device_count(), *buffer.shape), buffer.dtype)
    shares[0] = buffer
    # The copies of all devices are waited for: two collectives must not run at the same time.
    total = jax.block_until_ready(_psum()(shares))
    return np.asarray(first(total))


@functools.lru_cache(maxsize=1)
def _psum() -> Callable[[Any], Any]:
    return _pmap(lambda x: jax.lax.psum(x, AXIS_NAME), None)
