"""Few-shot episodes, drawn by index on the device."""

from numbers import Integral

import jax
import jax.numpy as jnp

from jaxfer.typing import Key, LabelledBatch, Task, UserError


def sample_episode(
    key: Key,
    images: jax.Array,
    classes: jax.Array,
    *,
    way: int,
    shot: int,
    queries: int,
    rotations: bool,
    groups: jax.Array | None = None,
    within: float = 1.0,
) -> Task:
    """Draws one ``way``-way episode of ``shot`` support and ``queries`` query drawings a class.

    The ``way`` characters differ, and so do the drawings of each. With rotations every character of
    the episode is turned by its own random quarter turns, all its drawings alike: a character and a
    turn are a class of their own, and an episode never holds two turns of one character, as in
    MAML's published code. Pure, so that it can be jitted, vmapped over keys and scanned; the images
    stay uint8 on the device until the few that are drawn become floats.

    Args:
      key: a JAX random key.
      images: uint8 ``[classes, examples, height, width]``; square when ``rotations``.
      classes: int32 ``[c]``, the indices of the classes to draw from, such as a split's ``train``.
      way: classes in the episode, 2 to c.
      shot: support drawings per class, at least 1.
      queries: query drawings per class, at least 1; ``shot + queries`` at most ``examples``.
      rotations: whether to turn each character by 0, 90, 180 or 270 degrees.
      groups: int ``[c]``, such as the alphabet of each of ``classes``: an episode is then of one
        group, that of a class drawn at random, filled up with others where it is too small.
        ``None`` draws from all classes alike.
      within: with ``groups``, the share of episodes that are of one group, from 0 to 1.

    Returns:
      ``Task(support, query)``, each with ``x`` float32 ``[way * n, height, width, 1]`` in [0, 1]
      and ``y`` int32 ``[way * n]`` in [0, way), class by class; n is ``shot`` or ``queries``.

    Raises:
      UserError: the sizes do not fit, see ``check_episode_shape``.
      ValueError: ``images`` is not of rank 4, not uint8, or not square and yet to be rotated.

    >>> images = jnp.zeros((30, 20, 28, 28), jnp.uint8)
    >>> task = sample_episode(
    ...     jax.random.key(0), images, jnp.arange(30), way=5, shot=1, queries=15, rotations=True
    ... )
    >>> task.support.x.shape, task.query.x.shape, task.support.y.tolist()
    ((5, 28, 28, 1), (75, 28, 28, 1), [0, 1, 2, 3, 4])
    """
    check_images(images, rotations)
    if groups is not None and (groups.shape != classes.shape or not 0 <= within <= 1):
        raise ValueError(
            f"groups must hold one number for each of the {classes.shape[0]} classes, and within "
            f"be from 0 to 1; got {groups.shape} and {within}."
        )
    check_episode_shape(
        way=way, shot=shot, queries=queries, classes=classes.shape[0], examples=images.shape[1]
    )
    class_key, drawing_key, turn_key = jax.random.split(key, 3)
    first = None if groups is None else _one_group(class_key, groups, classes.shape[0], within)
    chosen = classes[distinct(class_key, (), classes.shape[0], way, first)]
    drawings = distinct(drawing_key, (way,), images.shape[1], shot + queries)
    x = images[chosen[:, None], drawings]
    if rotations:
        turns = jax.random.randint(turn_key, (way, 1, 1, 1), 0, 4)
        x = _quarter_turns(x, turns)
    return Task(support=_batch(x[:, :shot]), query=_batch(x[:, shot:]))


def sample_labelled(
    key: Key, images: jax.Array, classes: jax.Array, *, count: int, rotations: bool
) -> LabelledBatch:
    """Draws images of any of the classes, with replacement: a batch of plain supervision.

    With rotations a class and a turn are a class of their own, as in :func:`sample_episode`.

    Args:
      key: a JAX random key.
      images: uint8 ``[classes, examples, height, width]``; square when ``rotations``.
      classes: int32 ``[c]``, the indices of the classes to draw from.
      count: how many images, at least 1.
      rotations: whether to turn each image by 0, 90, 180 or 270 degrees.

    Returns:
      ``x`` float32 ``[count, height, width, 1]`` in [0, 1] and ``y`` int32 ``[count]`` in [0, c),
      the place in ``classes``; in [0, 4 c) with rotations, ``4 * place + turns``.

    Raises:
      ValueError: ``count`` is below 1, or the images are not as they must be.

    >>> images = jnp.zeros((30, 20, 28, 28), jnp.uint8)
    >>> batch = sample_labelled(jax.random.key(0), images, jnp.arange(30), count=8, rotations=True)
    >>> batch.x.shape, bool(batch.y.max() < 120)
    ((8, 28, 28, 1), True)
    """
    check_images(images, rotations)
    if count < 1:
        raise ValueError(f"count must be at least 1; got {count}.")
    class_key, drawing_key, turn_key = jax.random.split(key, 3)
    place = jax.random.randint(class_key, (count,), 0, classes.shape[0])
    drawings = jax.random.randint(drawing_key, (count,), 0, images.shape[1])
    x, y = images[classes[place], drawings], place
    if rotations:
        turns = jax.random.randint(turn_key, (count,), 0, 4)
        x, y = _quarter_turns(x, turns[:, None, None]), 4 * place + turns
    return LabelledBatch(to_floats(x), y.astype(jnp.int32))


def check_episode_shape(
    *, way: int, shot: int, queries: int, classes: int, examples: int = 20
) -> None:
    """Checks that an episode of this shape can be drawn at all.

    Args:
      way: classes in an episode.
      shot: support drawings per class.
      queries: query drawings per class.
      classes: how many classes there are to draw from.
      examples: how many drawings each class has.

    Raises:
      UserError: a number is not a whole positive one, ``way`` is below 2 or exceeds ``classes``, or
        ``shot + queries`` exceeds ``examples``.

    >>> check_episode_shape(way=5, shot=1, queries=20, classes=1100)
    Traceback (most recent call last):
        ...
    jaxfer.typing.UserError: --shot 1 and --queries 20 need 21 drawings of each character, \
which has 20; lower one of them.
    """
    for flag, value, least in (("--way", way, 2), ("--shot", shot, 1), ("--queries", queries, 1)):
        if not _is_whole(value) or value < least:
            raise UserError(f"{flag} is {value!r}; give a whole number of at least {least}.")
    if way > classes:
        raise UserError(
            f"--way is {way}, but there are only {classes} characters to draw from; "
            f"give at most {classes}."
        )
    if shot + queries > examples:
        raise UserError(
            f"--shot {shot} and --queries {queries} need {shot + queries} drawings of each "
            f"character, which has {examples}; lower one of them."
        )


def check_images(images: jax.Array, rotations: bool) -> None:
    """Checks that images are of the form that episodes are drawn from."""
    if images.ndim != 4 or images.dtype != jnp.uint8:
        raise ValueError(
            f"images must be uint8 [classes, examples, height, width]; got {images.dtype} "
            f"{list(images.shape)}; pass CharacterSet.images."
        )
    if rotations and images.shape[2] != images.shape[3]:
        raise ValueError(
            f"images must be square to be rotated; got {images.shape[2]} x {images.shape[3]}; "
            "crop them or pass rotations=False."
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def distinct(
    key: Key, batch: tuple[int, ...], n: int, k: int, first: jax.Array | None = None
) -> jax.Array:
    """Uniform k of n indices without replacement, in random order: the largest k of n uniforms.

    With ``first`` ``[n]``, those where it is True are taken before any other.
    """
    scores = jax.random.uniform(key, (*batch, n))
    if first is None:
        return jax.lax.top_k(scores, k)[1]
    taken = jax.lax.top_k(scores + first, k)[1]
    # Where others had to fill up, they came last.
    return jax.random.permutation(jax.random.fold_in(key, 1), taken)


def _one_group(key: Key, groups: jax.Array, n: int, within: float) -> jax.Array:
    """Which classes are of the group of one of them, or all, with the probability of each."""
    index_key, choice_key = jax.random.split(jax.random.fold_in(key, 2))
    same = groups == groups[jax.random.randint(index_key, (), 0, n)]
    return same | (jax.random.uniform(choice_key) >= within)


def _quarter_turns(x: jax.Array, turns: jax.Array) -> jax.Array:
    """np.rot90 of the last two axes, by ``turns``: a transpose and two flips, each kept or not."""
    x = jnp.where(turns % 2 == 1, x.swapaxes(-1, -2), x)
    x = jnp.where((turns == 1) | (turns == 2), x[..., ::-1, :], x)
    return jnp.where(turns >= 2, x[..., ::-1], x)


def _batch(x: jax.Array) -> LabelledBatch:
    """uint8 ``[way, n, h, w]`` to floats and labels, class by class."""
    way, n, height, width = x.shape
    return LabelledBatch(
        x=to_floats(x.reshape(way * n, height, width)),
        y=jnp.repeat(jnp.arange(way, dtype=jnp.int32), n),
    )


def to_floats(x: jax.Array) -> jax.Array:
    """uint8 ``[n, height, width]`` to float32 ``[n, height, width, 1]`` in [0, 1]."""
    return x[..., None].astype(jnp.float32) / 255
