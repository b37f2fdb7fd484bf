"""Learning rates of fine-tuning: which, how they rise and fall, and a search for them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxfer.experiments.finetune_options import FineTuningOptions
from jaxfer.training import find_rate
from jaxfer.training.processes import any_process, on_first_process, share_from_first_process
from jaxfer.training.run_folder import write_json
from jaxfer.typing import PyTree, UserError


def rate_of(config: FineTuningOptions, name: str) -> float | Literal["find"]:
    """The learning rate that the settings have for a method.

    >>> rate_of(FineTuningOptions(few_rate=0.5), "lora")
    0.5
    """
    if name == "scratch":
        return config.scratch_rate
    return config.few_rate if name in ("probe", "lora", "bitfit", "adapters") else config.rate


def make_optimiser(
    config: FineTuningOptions, rate: float, steps: int
) -> optax.GradientTransformation:
    """AdamW with a warm-up and what ``--schedule`` says, and gradients of at most length 1."""
    return adamw(config, make_schedule(config.schedule, rate, steps))


def adamw(config: FineTuningOptions, rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """AdamW, without decay of biases and normalisations, and gradients of at most length 1."""
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(
            rate,
            weight_decay=config.decay,
            mask=lambda params: jax.tree.map(lambda leaf: jnp.ndim(leaf) > 1, params),
        ),
    )


def make_schedule(name: str, rate: float, steps: int) -> optax.Schedule:
    """A learning rate that rises over the first tenth of the steps and goes on as its name says.

    >>> [round(float(make_schedule("linear", 1.0, 20)(t)), 3) for t in (0, 1, 2, 11, 20)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    rise, steps = max(1, steps // 10), max(2, steps)
    if name == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, rate, rise, steps)
    end = 0.0 if name == "linear" else rate
    after = optax.linear_schedule(rate, end, steps - rise)
    return optax.join_schedules([optax.linear_schedule(0.0, rate, rise), after], [rise])


def search_rate(
    config: FineTuningOptions,
    loss_fn: Callable[[PyTree, PyTree], jax.Array],
    params: PyTree,
    batches: PyTree,
    folder: Path,
) -> float:
    """Finds a learning rate, once for a run folder: what is resumed has the rate it began with.

    Args:
      config: for AdamW.
      loss_fn, params, batches: as for :func:`jaxfer.training.find_rate`.
      folder: for ``rate.json``, which holds what was seen.

    Returns:
      The rate.

    Raises:
      UserError: the file cannot be written or read.
    """
    path = folder / "rate.json"
    if any_process(path.is_file()):
        try:
            return float(json.loads(path.read_text())["rate"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read ({error!r}); take it away.") from error
    found = find_rate(
        loss_fn, params, batches, optimiser=lambda learning_rate: adamw(config, learning_rate)
    )
    seen = {"rate": found.suggested, "rates": found.rates, "losses": found.losses}
    on_first_process(lambda: write_json(path, seen))
    # Of several processes all take the first one's, whatever their sums were rounded to.
    return float(share_from_first_process(np.array(found.suggested)))
