"""Trajectories of examples, one class after the other, drawn by index on the device."""

import jax
import jax.numpy as jnp

from jaxfer.data.episodes import check_images, distinct, sample_labelled, to_floats
from jaxfer.typing import Key, LabelledBatch, Task


def sample_trajectory(
    key: Key, images: jax.Array, classes: jax.Array, *, way: int, shot: int, random: int
) -> Task:
    """Draws a trajectory to learn from in its order, and images of any class to be judged on.

    Labels are places in ``classes``, the same in every trajectory: one network tells all of them
    apart, and forgets some while it learns others.

    Args:
      key: a JAX random key.
      images: uint8 ``[classes, examples, height, width]``.
      classes: int32 ``[c]``, the indices of the classes to draw from.
      way: classes in the trajectory, one after the other, at most c.
      shot: images of each, at most ``examples``.
      random: images of any class, at least 1.

    Returns:
      ``Task(support, query)``: ``x`` float32 ``[n, height, width, 1]`` in [0, 1] and ``y`` int32
      ``[n]`` in [0, c); n is ``way * shot``, class by class, and ``random``.

    Raises:
      ValueError: a number that does not fit, or images that are not as they must be.

    Source: Javed and White 2019, Meta-learning representations for continual learning, section 3.

    >>> images = jnp.zeros((30, 20, 28, 28), jnp.uint8)
    >>> task = sample_trajectory(jax.random.key(0), images, jnp.arange(30), way=2, shot=3, random=8)
    >>> task.support.x.shape, task.query.y.shape, bool(task.support.y[0] == task.support.y[2])
    ((6, 28, 28, 1), (8,), True)
    """
    check_images(images, rotations=False)
    for name, value, most in (
        ("way", way, classes.shape[0]),
        ("shot", shot, images.shape[1]),
        ("random", random, None),
    ):
        if value < 1 or (most is not None and value > most):
            raise ValueError(
                f"{name} must be at least 1{'' if most is None else f' and at most {most}'}; "
                f"got {value}."
            )
    class_key, drawing_key, random_key = jax.random.split(key, 3)
    place = distinct(class_key, (), classes.shape[0], way)
    drawings = distinct(drawing_key, (way,), images.shape[1], shot)
    x = images[classes[place][:, None], drawings]
    trajectory = LabelledBatch(
        to_floats(x.reshape(way * shot, *x.shape[2:])), jnp.repeat(place, shot).astype(jnp.int32)
    )
    batch = sample_labelled(random_key, images, classes, count=random, rotations=False)
    return Task(support=trajectory, query=batch)
