"""What few-shot methods have in common: their flags, and networks put together by names."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro

from jaxfer import meta
from jaxfer.experiments.command_line import check_at_least
from jaxfer.experiments.episodic import EpisodeOptions
from jaxfer.models import Conv4, Network, from_nnx
from jaxfer.typing import Key, LabelledBatch, Metrics, PyTree, UserError

MOST_WAY = 20
"""Classes in a training episode where a step's memory or time grows with their square."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FewShotOptions(EpisodeOptions):
    """The flags of every experiment that compares few-shot methods on images.

    >>> FewShotOptions(method=("prototypical", "ridge")).train_way
    60
    """

    method: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = ("prototypical",)
    """Which methods to train, one after the other, for one table; all stands for every one."""

    train_way: Annotated[int, tyro.conf.arg(metavar="N")] = 60
    """Classes in an episode to train on; methods whose network has as many outputs as an episode
    has classes (snail, neural-process) take those of the first --test-way instead."""

    train_queries: Annotated[int, tyro.conf.arg(metavar="N")] = 5
    """Query images of each class in training."""

    queries: Annotated[int, tyro.conf.arg(metavar="N")] = 15
    """Query images of each class in validation and test."""

    tasks: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Episodes (or batches) in an outer step."""

    image_size: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 28
    """Height and width to which images are resized."""

    test_episodes: Annotated[int, tyro.conf.arg(metavar="N")] = 1000
    """Episodes of each test, the same for every run and method."""

    inner_steps: Annotated[int, tyro.conf.arg(metavar="N")] = 3
    """proto-maml: inner steps, in training and test."""

    inner_rate: Annotated[float, tyro.conf.arg(metavar="RATE")] = 0.05
    """proto-maml: inner learning rate."""

    first_order: bool = False
    """proto-maml: hold the inner gradients constant, as published."""


class FewShotMethod(NamedTuple):
    """One way to learn from a few examples.

    Attributes:
      init: ``init(key) -> (params, state)``.
      learner: its meta-gradient; trained on episodes of ``train_way`` classes.
      answers: ``answers(way) -> {row: answer}``: how it answers episodes of so many classes, the
        first being the one that validation goes by; empty where it cannot.
      train_way: classes in an episode to train on; 0 trains on labelled images of all classes.
    """

    init: Callable[[Key], tuple[PyTree, PyTree]]
    learner: meta.Learner
    answers: Callable[[int], Mapping[str, meta.Answer]]
    train_way: int


class Problem(NamedTuple):
    """What a method is made for.

    Attributes:
      config: the settings.
      name: of the method.
      test_way: classes in the first test's episodes.
      most_shots: the most support images of a class in any episode.
      classes: how many there are to train on, turned ones counted apart.
    """

    config: FewShotOptions
    name: str
    test_way: int
    most_shots: int
    classes: int


def check_options(config: FewShotOptions) -> None:
    """One sentence about a number that makes no sense."""
    positive = (
        "shot", "queries", "train_queries", "tasks", "width", "chunk", "validate_every",
        "checkpoint_every", "validation_episodes", "test_episodes",
    )  # fmt: skip
    check_at_least(
        config,
        **dict.fromkeys(positive, 1),
        train_way=2,
        outer_rate=0,
        test_seed=0,
        inner_steps=0,
        inner_rate=0,
    )
    if config.image_size < 16:
        raise UserError(f"--image-size is {config.image_size}; give at least 16.")


def embedding(config: FewShotOptions, *, momentum: float = 0.9, per_task: bool = False) -> Network:
    """Conv4 with pooling and without a linear layer, the network of all that compare features."""
    return from_nnx(
        lambda rngs: Conv4(
            classes=None, width=config.width, image_size=config.image_size,
            downsampling="max_pool", momentum=momentum, method="patches" if per_task else "auto",
            rngs=rngs,
        )
    )  # fmt: skip


def features_of(config: FewShotOptions) -> int:
    """How many features the embedding has."""
    return config.width * (config.image_size // 16) ** 2


def together(**networks: Network) -> Callable[[Key], tuple[PyTree, PyTree]]:
    """Starts several networks as one: parameters and state by their names."""

    def init(key: Key) -> tuple[PyTree, PyTree]:
        keys = jax.random.split(key, len(networks))
        begun = {
            name: network.init(k) for k, (name, network) in zip(keys, networks.items(), strict=True)
        }
        params, state = ({name: each[i] for name, each in begun.items()} for i in (0, 1))
        return params, state

    return init


def one_of(name: str, network: Network) -> meta.Embed:
    """One of several networks that were begun together; it hands on the state of the others."""

    def apply(
        params: PyTree, state: PyTree, x: PyTree, *, train: bool, key: Key | None = None
    ) -> tuple[Any, PyTree]:
        output, own = network.apply(params[name], state[name], x, train=train, key=key)
        return output, {**state, name: own}

    return apply


def functions(init: Callable[[Key], PyTree]) -> Network:
    """Parameters of pure functions in the place of a network's, beside others."""

    def none(
        params: PyTree, state: PyTree, x: PyTree, *, train: bool, key: Key | None = None
    ) -> tuple[Any, PyTree]:
        return x, state

    return Network(lambda key: (init(key), {}), none)


def numbers(**values: float) -> Network:
    """Learned numbers in the place of a network, beside others."""
    return functions(lambda _: {name: jnp.asarray(value) for name, value in values.items()})


def on_episodes(
    problem: Problem,
    init: Callable[[Key], tuple[PyTree, PyTree]],
    answer: Callable[[int], meta.Answer],
    way: int,
    loss_fn: meta.OutputLoss = meta.classification_loss,
    *,
    only_this_way: bool = False,
) -> FewShotMethod:
    """A method that answers in training as at the test."""

    def answers(asked: int) -> dict[str, meta.Answer]:
        return {} if only_this_way and asked != way else {problem.name: answer(asked)}

    return FewShotMethod(init, meta.conditional(answer(way), loss_fn), answers, way)


def with_linear(embed: meta.Embed) -> meta.Embed:
    """The logits of features and of the linear layer in ``params["head"]``."""

    def apply(
        params: PyTree, state: PyTree, x: PyTree, *, train: bool, key: Key | None = None
    ) -> tuple[jax.Array, PyTree]:
        features, state = embed(params, state, x, train=train, key=key)
        return features @ params["head"]["kernel"] + params["head"]["bias"], state

    return apply


def classification_loss_of(logits: meta.Embed, *, train: bool) -> meta.LossFn:
    """Mean cross-entropy of a batch, for a learner with an inner loop; it records if it trains."""

    def loss_fn(
        params: PyTree, state: PyTree, batch: LabelledBatch, key: Key | None
    ) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
        output, state = logits(params, state, batch.x, train=train, key=key)
        loss, metrics = meta.classification_loss(output, batch.y)
        return loss, (state, metrics)

    return loss_fn
