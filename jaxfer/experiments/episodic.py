"""What experiments on episodes share: flags, learners, outer step and evaluation."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
import tyro

from jaxfer import meta
from jaxfer.adapters import Mask
from jaxfer.experiments.command_line import TrainingOptions, check_at_least
from jaxfer.training.devices import Devices, Step, compile_evaluation
from jaxfer.training.state import TrainState
from jaxfer.typing import Key, Metrics, PyTree, Task, UserError

Method = Literal[
    "maml", "fomaml", "anil", "boil", "reptile", "meta-sgd", "cavia", "imaml", "maml++"
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpisodeOptions(TrainingOptions):
    """The flags of every experiment that is trained, validated or tested on episodes.

    >>> EpisodeOptions(shot=5).queries
    1
    """

    shot: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Support examples (of each class), to adapt to."""

    queries: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Query examples (of each class), to be judged on."""

    tasks: Annotated[int, tyro.conf.arg(metavar="N")] = 32
    """Episodes in an outer step."""

    outer_rate: Annotated[float, tyro.conf.arg(metavar="RATE")] = 1e-3
    """Learning rate of Adam on the meta-parameters."""

    outer_schedule: Literal["constant", "cosine"] = "constant"
    """How the outer rate goes on: stays, or falls to a hundredth along a cosine over --steps."""

    width: Annotated[int, tyro.conf.arg(metavar="N")] = 64
    """Channels or units of each layer."""

    devices: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """How many devices to split each step over: accelerators, or on CPU that many cores. By default
    all that split the step evenly. It does not change what is computed, up to rounding."""

    chunk: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Tasks vmapped at a time on each device. By default 1 on a CPU, all of them elsewhere."""

    validate_every: Annotated[int, tyro.conf.arg(metavar="N")] = 500
    """Outer steps between validations; the best validated parameters are tested."""

    checkpoint_every: Annotated[int, tyro.conf.arg(metavar="N")] = 500
    """Outer steps between checkpoints."""

    validation_episodes: Annotated[int, tyro.conf.arg(metavar="N")] = 300
    """Episodes of a validation."""

    test_episodes: Annotated[int, tyro.conf.arg(metavar="N")] = 600
    """Episodes of the test, the same for every run and method of the same shape."""

    test_seed: Annotated[int, tyro.conf.arg(metavar="N")] = 1_000_003
    """Seed of the test episodes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpisodicOptions(EpisodeOptions):
    """The flags of every experiment that meta-learns by gradients.

    >>> EpisodicOptions(method="anil").inner_steps
    1
    """

    method: Method = "maml"
    """How to learn to adapt. fomaml: without second derivatives; anil: only the head adapts; boil:
    all but the head; reptile: towards each task's weights; meta-sgd: a learned rate per parameter;
    cavia: context parameters adapt; imaml: implicit gradient; maml++: learned rates per layer and
    step, per-step normalisation, multi-step loss."""

    inner_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Inner gradient steps while training; 0 trains one network for all tasks at once."""

    inner_rate: Annotated[float | None, tyro.conf.arg(metavar="RATE")] = None
    """Inner learning rate, on the mean loss; by default the experiment's for the method."""

    remat: bool = False
    """Recompute each inner step's activations instead of keeping them: less memory, more time."""

    proximal: Annotated[float, tyro.conf.arg(metavar="STRENGTH")] = 2.0
    """imaml: pull of the inner problem towards its start."""

    context: Annotated[int, tyro.conf.arg(metavar="N")] = 100
    """cavia: number of context parameters."""

    anneal_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """maml++: outer steps until only the loss after the last inner step counts."""

    first_order_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """maml++: outer steps at the start without second derivatives."""


SMOKE = {
    "steps": 4,
    "tasks": 4,
    "width": 8,
    "validate_every": 2,
    "checkpoint_every": 2,
    "validation_episodes": 8,
    "test_episodes": 8,
}
"""What --smoke sets."""

MAY_DIFFER = ("test_episodes", "test_seed", "chunk", "remat")
"""What a resumed run may set differently, beside how long it trains at a constant rate."""


def check_options(config: EpisodicOptions) -> None:
    """Checks the numbers that all these experiments have in common.

    Args:
      config: the settings.

    Raises:
      UserError: if one makes no sense.

    >>> check_options(EpisodicOptions())
    """
    positive = (
        "shot", "queries", "tasks", "width", "chunk", "context", "validate_every",
        "checkpoint_every", "validation_episodes", "test_episodes",
    )  # fmt: skip
    other = (
        "inner_steps", "inner_rate", "outer_rate", "anneal_steps", "first_order_steps",
        "proximal", "test_seed",
    )  # fmt: skip
    check_at_least(config, **dict.fromkeys(positive, 1), **dict.fromkeys(other, 0))
    if config.method == "maml++" and config.inner_steps < 1:
        raise UserError("--inner-steps is 0; maml++ needs at least 1.")
    if config.method == "imaml" and not config.proximal > 0:
        raise UserError(f"--proximal is {config.proximal}; imaml needs a positive number.")


def make_learner(
    config: EpisodicOptions,
    loss_fn: meta.LossFn,
    *,
    rate: float,
    steps: int,
    query_loss_fn: meta.LossFn | None = None,
    per_step: Mask = None,
) -> meta.Learner:
    """The method that ``--method`` names.

    Args:
      config: the settings.
      loss_fn: of a network whose last layer is named ``head``, and with ``context`` for cavia.
      rate: inner learning rate where ``--inner-rate`` gives none.
      steps: inner steps.
      query_loss_fn: the loss on query batches where it is another one.
      per_step: for maml++, the parameters that each step has its own values of.

    Returns:
      The learner.

    >>> loss_fn = lambda params, state, batch, key: (jnp.sum(params), (state, {}))
    >>> make_learner(EpisodicOptions(), loss_fn, rate=0.1, steps=1).init(1.0)
    {'params': 1.0}
    """
    rate = rate if config.inner_rate is None else config.inner_rate
    sgd = optax.sgd(rate)
    options: dict[str, Any] = {
        "loss_fn": loss_fn,
        "query_loss_fn": query_loss_fn,
        "steps": steps,
        "remat": config.remat,
    }
    match config.method:
        case "maml":
            return meta.maml(rule=sgd, **options)
        case "fomaml":
            return meta.fomaml(rule=sgd, **options)
        case "anil":
            return meta.anil(rule=sgd, **options)
        case "boil":
            return meta.boil(rule=sgd, **options)
        case "imaml":
            return meta.imaml(rule=sgd, proximal=config.proximal, **options)
        case "cavia":
            return meta.cavia(rule=sgd, **options)
        case "reptile":  # the paper's inner Adam keeps no first moment
            return meta.reptile(rule=optax.adam(rate, b1=0.0), **options)
        case "meta-sgd":
            return meta.meta_sgd(rate=rate, **options)
        case "maml++":
            return meta.maml_plus_plus(
                rate=rate,
                per_step=per_step,
                anneal_steps=config.anneal_steps,
                first_order_steps=config.first_order_steps,
                **options,
            )


def make_optimiser(config: EpisodeOptions) -> optax.GradientTransformation:
    """Adam on the meta-parameters, its rate constant or along a cosine.

    >>> make_optimiser(EpisodicOptions()).init(jnp.zeros(3))[0].mu.shape
    (3,)
    """
    if config.outer_schedule == "constant":
        return optax.adam(config.outer_rate)
    return optax.adam(optax.cosine_decay_schedule(config.outer_rate, config.steps, alpha=0.01))


def make_outer_step(
    config: EpisodeOptions,
    learner: meta.Learner,
    optimiser: optax.GradientTransformation,
    sample: Callable[[Key, Any], Task],
    devices: Devices,
    *,
    vmapped: bool | None = None,
    keep_state: bool = False,
) -> Step:
    """One outer step of one run: this device's share of the tasks, then the mean over all of them.

    Args:
      config: the settings.
      learner: gives each task's meta-gradient.
      optimiser: descends their mean.
      sample: ``sample(key, data) -> Task``. The key is that of the task's global index, so that
        the tasks do not depend on how they are split over devices.
      devices: those of the run.
      vmapped: whether, without ``--chunk``, a device takes its tasks all at once or one at a time;
        by default all at once except on a CPU, where the images of one task stay in the cache.
      keep_state: whether what the tasks recorded of their batches, on average, is the run's state
        from then on: running statistics.

    Returns:
      ``step(run, data) -> (run, metrics)``, for `jaxfer.training.devices.compile_step`.

    Raises:
      UserError: if ``--chunk`` does not divide a device's share.
    """
    share = config.tasks // len(devices)
    if vmapped is None:
        vmapped = devices[0].platform != "cpu"
    chunk = config.chunk or (share if vmapped else 1)
    if share % chunk:
        raise UserError(f"--chunk {chunk} does not divide the {share} tasks of each device.")

    def step(run: TrainState, data: Any) -> tuple[TrainState, Metrics]:
        step_key = jax.random.fold_in(run.key, run.step)

        def contribution(index: jax.Array) -> tuple[PyTree, Metrics, PyTree]:
            task_key, loss_key = jax.random.split(jax.random.fold_in(step_key, index))
            task = sample(task_key, data)
            result = learner.gradient(run.params, run.state, task, loss_key, run.step)
            return result.grads, result.metrics, result.state if keep_state else ()

        indices = jax.lax.axis_index("batch") * share + jnp.arange(share)
        local = meta.mean_over_tasks(contribution, indices, chunk=chunk)
        grads, metrics, state = jax.lax.pmean(local, "batch")
        updates, opt_state = optimiser.update(grads, run.opt_state, run.params)
        params = optax.apply_updates(run.params, updates)
        run = run._replace(params=params, opt_state=opt_state)
        return run._replace(state=state) if keep_state else run, metrics

    return step


def compile_episodes(
    judge: Callable[[Any, Any, jax.Array], PyTree],
    episodes: int,
    devices: Devices,
    *,
    chunk: int | None = None,
) -> Callable[[Any, Any], PyTree]:
    """Maps a judgement of one episode over many, every device taking its share.

    Args:
      judge: ``judge(judged, data, index) -> results`` for one run and the episode of that index.
      episodes: how many.
      devices: those of the run.
      chunk: how many are vmapped at a time; by default 1 on a CPU, 64 elsewhere.

    Returns:
      ``evaluate(judged, data) -> results``: ``judged`` ``[runs, ...]``, ``data`` replicated, the
      results ``[runs, episodes, ...]``.

    >>> from jaxfer.training.devices import replicate
    >>> devices = jax.local_devices()[:1]
    >>> judge = lambda offset, data, index: offset + index
    >>> evaluate = compile_episodes(judge, 3, devices)
    >>> print(evaluate(jnp.array([10]), replicate(jnp.zeros(()), devices)))
    [[10 11 12]]
    """
    share = -(-episodes // len(devices))
    at_once = min(chunk or (1 if devices[0].platform == "cpu" else 64), share)

    def evaluate(judged: Any, data: Any) -> PyTree:
        indices = jax.lax.axis_index("batch") * share + jnp.arange(share)
        results = jax.lax.map(lambda index: judge(judged, data, index), indices, batch_size=at_once)
        gathered = jax.lax.all_gather(results, "batch", tiled=True)
        return jax.tree.map(lambda leaf: leaf[:episodes], gathered)

    return compile_evaluation(evaluate, devices=devices)
