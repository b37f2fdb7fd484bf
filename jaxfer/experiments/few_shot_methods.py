"""The few-shot methods by name."""

from collections.abc import Callable
from functools import partial

from jaxfer import losses, meta
from jaxfer.experiments.few_shot import FewShotMethod, FewShotOptions, Problem
from jaxfer.experiments.few_shot_adapting import neural_process, proto_maml, snail, supervised
from jaxfer.experiments.few_shot_metric import contrasted, full_context, metric, relation, ridge
from jaxfer.typing import UserError

METHODS: dict[str, Callable[[Problem], FewShotMethod]] = {
    "prototypical": partial(metric, head=meta.nearest_centroid),
    "prototypical-cosine": partial(
        metric, head=meta.nearest_centroid, distance="cosine", scale=10.0
    ),
    "matching": partial(metric, head=meta.matching, scale=10.0),
    "matching-l2": partial(metric, head=meta.matching, similarity="l2"),
    "matching-full-context": full_context,
    "matching-l2-full-context": partial(full_context, similarity="l2", scale=1.0),
    "relation": relation,
    "siamese-contrastive": partial(contrasted, loss=losses.contrastive, margin=10.0),
    "siamese-triplet": partial(contrasted, loss=losses.triplet, margin=1.0),
    "supervised-contrastive": partial(
        contrasted, loss=losses.supervised_contrastive, distance="cosine"
    ),
    "ridge": ridge,
    "proto-maml": proto_maml,
    "neural-process": neural_process,
    "snail": snail,
    "supervised": supervised,
}
"""Every method by the name that ``--method`` takes; supervised answers in three ways."""

WITHOUT_EPISODES = ("supervised",)
"""Those that train on labelled images of all classes."""


def make_method(problem: Problem) -> FewShotMethod:
    """The method of that name.

    Args:
      problem: the settings and the name.

    Returns:
      The method.

    Raises:
      UserError: if there is none of that name.

    >>> make_method(Problem(FewShotOptions(), "prototypes", 5, 1, 100))
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


def chosen_methods(config: FewShotOptions, *, only_on_episodes: bool = False) -> tuple[str, ...]:
    """The methods that ``--method`` names, each once.

    Args:
      config: the settings.
      only_on_episodes: whether those that train on no episodes are refused, and left out of all.

    Returns:
      Their names.

    Raises:
      UserError: if there is no such method, or one that is refused.

    >>> chosen_methods(FewShotOptions(method=("ridge", "prototypical", "ridge")))
    ('ridge', 'prototypical')
    """
    if not config.method:
        raise UserError(f"--method names none; the methods are: {', '.join(METHODS)}.")
    if "all" in config.method:
        return tuple(
            name for name in METHODS if not (only_on_episodes and name in WITHOUT_EPISODES)
        )
    names = tuple(dict.fromkeys(checked_name(name) for name in config.method))
    if only_on_episodes and (refused := [name for name in names if name in WITHOUT_EPISODES]):
        raise UserError(
            f"--method {refused[0]} trains on no episodes, which this experiment needs; leave it "
            "out, or run fewshot_omniglot, which takes any."
        )
    return names
