"""A network that hears several things: one encoder of spectrograms, a head for each task."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxfer.evaluation import accuracy
from jaxfer.experiments.finetune_run import in_chunks
from jaxfer.models import Linear, Network, SpectrogramEncoder, from_nnx
from jaxfer.training.devices import Devices, compile_evaluation
from jaxfer.typing import Metrics, PyTree


class Examples(NamedTuple):
    """Spectrograms ``[n, frames, mels]``, and for each task its labels ``[n]``.

    >>> sorted(Examples(jnp.zeros((1, 49, 40)), {"digit": jnp.array([7])}).y)
    ['digit']
    """

    x: jax.Array
    y: dict[str, jax.Array]


class Parts(NamedTuple):
    """What lies on every device; nothing is trained on or picked by the test.

    >>> Parts(None, None, "test").test
    'test'
    """

    train: Examples
    validation: Examples
    test: Examples


class SharedEncoder(nnx.Module):
    """An encoder of spectrograms with a linear head for each task.

    >>> module = SharedEncoder({"digit": 10, "speaker": 6}, mels=8, features=4, rngs=nnx.Rngs(0))
    >>> {task: logits.shape for task, logits in module(jnp.zeros((2, 8, 8))).items()}
    {'digit': (2, 10), 'speaker': (2, 6)}
    """

    def __init__(self, heads: Mapping[str, int], *, mels: int, features: int, rngs: nnx.Rngs):
        self.tasks = tuple(heads)
        self.encoder = SpectrogramEncoder(mels=mels, features=features, rngs=rngs)
        for task, classes in heads.items():
            setattr(self, task, Linear(features, classes, rngs=rngs))

    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        features = self.encoder(x)
        return {task: getattr(self, task)(features) for task in self.tasks}


class Heard(NamedTuple):
    """A network for some tasks, and how it is judged; methods that train the same one share it.

    Attributes:
      tasks: which it learns.
      network: gives logits by task.
      validate: from parameters and state ``[runs, ...]`` to measures ``[runs]``.
      test: likewise to the logits of the test, by task ``[runs, n, classes]``.

    >>> Heard(("digit",), None, None, None).tasks
    ('digit',)
    """

    tasks: tuple[str, ...]
    network: Network
    validate: Callable[[Any, Any], Metrics]
    test: Callable[[Any, Any], dict[str, jax.Array]]


def make_network(
    tasks: tuple[str, ...],
    classes: Mapping[str, Sequence[str]],
    *,
    mels: int,
    features: int,
    devices: Devices,
) -> Heard:
    """One encoder with a head for each of some tasks.

    Args:
      tasks: which.
      classes: of each task their names.
      mels, features: of the encoder.
      devices: those of the run.

    Returns:
      The network, and how it is judged.
    """
    heads = {task: len(classes[task]) for task in tasks}
    network = from_nnx(lambda rngs: SharedEncoder(heads, mels=mels, features=features, rngs=rngs))

    def predict(run: tuple[PyTree, PyTree], x: jax.Array) -> dict[str, jax.Array]:
        return in_chunks(lambda some: network.apply(*run, some, train=False)[0], x)

    def judge(run: tuple[PyTree, PyTree], parts: Parts) -> Metrics:
        x, y = parts.validation
        logits = predict(run, x)
        right = {task: accuracy(logits[task], y[task]) for task in tasks}
        losses = [
            optax.softmax_cross_entropy_with_integer_labels(logits[task], y[task]).mean()
            for task in tasks
        ]
        return {
            **{f"{task}_accuracy": value for task, value in right.items()},
            "accuracy": jnp.mean(jnp.stack([*right.values()])),
            "loss": jnp.sum(jnp.stack(losses)),
        }

    in_turn = devices[0].platform == "cpu"
    return Heard(
        tasks,
        network,
        compile_evaluation(judge, devices=devices, runs_in_turn=in_turn),
        compile_evaluation(
            lambda run, parts: predict(run, parts.test.x), devices=devices, runs_in_turn=in_turn
        ),
    )
