"""The few-shot methods by name: their networks, how they train, how they answer."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import tyro

from jaxfer import meta
from jaxfer.experiments.command_line import check_at_least
from jaxfer.experiments.episodic import EpisodeOptions
from jaxfer.models import Conv4, Network, from_nnx
from jaxfer.typing import Key, PyTree, UserError


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
      classes: how many there are to train on, turned ones counted apart.
    """

    config: FewShotOptions
    name: str
    test_way: int
    classes: int


def make_method(problem: Problem) -> FewShotMethod:
    """The method of that name.

    Args:
      problem: the settings and the name.

    Returns:
      The method.

    Raises:
      UserError: if there is none of that name.

    >>> make_method(Problem(FewShotOptions(), "prototypes", 5, 100))
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: There is no method 'prototypes'; the methods are: prototypical, ...
    """
    return METHODS[checked_name(problem.name)](problem)


def checked_name(name: str) -> str:
    """The name itself, if there is such a method."""
    if name not in METHODS:
        raise UserError(f"There is no method {name!r}; the methods are: {', '.join(METHODS)}.")
    return name


def chosen_methods(config: FewShotOptions) -> tuple[str, ...]:
    """The methods that ``--method`` names, each once.

    >>> chosen_methods(FewShotOptions(method=("ridge", "prototypical", "ridge")))
    ('ridge', 'prototypical')
    """
    if "all" in config.method:
        return tuple(METHODS)
    return tuple(dict.fromkeys(checked_name(name) for name in config.method))


def check_options(config: FewShotOptions) -> None:
    """One sentence about a number that makes no sense."""
    positive = (
        "shot", "queries", "train_queries", "tasks", "width", "chunk", "validate_every",
        "checkpoint_every", "validation_episodes", "test_episodes",
    )  # fmt: skip
    check_at_least(config, **dict.fromkeys(positive, 1), train_way=2, outer_rate=0, test_seed=0)
    if config.image_size < 16:
        raise UserError(f"--image-size is {config.image_size}; give at least 16.")
    if not config.method:
        raise UserError(f"--method names none; the methods are: {', '.join(METHODS)}.")
    chosen_methods(config)


def embedding(config: FewShotOptions) -> Network:
    """Conv4 with pooling and without a linear layer, the network of all that compare features."""
    return from_nnx(
        lambda rngs: Conv4(
            classes=None, width=config.width, image_size=config.image_size,
            downsampling="max_pool", rngs=rngs,
        )
    )  # fmt: skip


def metric(problem: Problem, head: Callable[..., jax.Array], **options: Any) -> FewShotMethod:
    """A network and a head without parameters of its own, trained on episodes."""
    network = embedding(problem.config)

    def answers(way: int) -> dict[str, meta.Answer]:
        this = partial(head, classes=way, **options)
        return {problem.name: meta.answer_by_features(network.apply, lambda _: this)}

    way = problem.config.train_way
    learner = meta.conditional(answers(way)[problem.name])
    return FewShotMethod(network.init, learner, answers, way)


METHODS: dict[str, Callable[[Problem], FewShotMethod]] = {
    "prototypical": partial(metric, head=meta.nearest_centroid),
    "prototypical-cosine": partial(
        metric, head=meta.nearest_centroid, distance="cosine", scale=10.0
    ),
}
"""Every method by the name that ``--method`` takes."""
