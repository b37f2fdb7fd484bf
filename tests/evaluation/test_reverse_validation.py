"""Reverse validation: who is given what, and a method that adapts against one that mixes classes up."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.evaluation import reverse_validation_accuracy
from jaxfer.typing import LabelledBatch

CLASSES = 3


def domains(seed=0, n=20):
    """Three clusters, and the same moved and turned."""
    draw = np.random.default_rng(seed)
    y = np.arange(n) % CLASSES
    means = np.array([[0.0, 0], [4, 0], [0, 4]])
    x = (means[y] + 0.3 * draw.normal(size=(n, 2))).astype(np.float32)
    target = (means[y] + 0.3 * draw.normal(size=(n, 2)) + [20, 5]).astype(np.float32)
    return LabelledBatch(x, y), target, y


def predict(fitted, x):
    return -jnp.square((x + fitted["move"])[:, None] - fitted["means"]).sum(-1)


def fit(start, source, target, held_out, target_held_out, key, *, strength=1.0, permute=0):
    """Class means, and the target moved by a share of the difference of the domains' means.

    ``permute`` mixes the classes up each time that something is fitted.
    """
    one_hot = jax.nn.one_hot(source.y, CLASSES)
    means = one_hot.T @ source.x / jnp.maximum(one_hot.sum(0), 1)[:, None]
    move = strength * (source.x.mean(0) - target.mean(0))
    return {"means": jnp.roll(means, permute, axis=0), "move": move}


def score(strength=1.0, permute=0, **options):
    source, target, _ = domains()
    held_out, target_held_out, _ = domains(1)
    return reverse_validation_accuracy(
        functools.partial(fit, strength=strength, permute=permute),
        predict,
        source,
        target,
        held_out=held_out,
        target_held_out=target_held_out,
        key=jax.random.key(0),
        **options,
    )


def test_strengths_side_by_side_are_ranked_as_their_accuracy_on_the_target():
    strengths = jnp.array([0.0, 0.9, 1.0])
    scores, info = jax.jit(jax.vmap(score))(strengths)
    _, _, y = domains()
    right = (info.target_labels == y).mean(-1)
    assert right[0] < 0.5 and (right[1:] > 0.9).all()
    assert scores[0] < 0.5 and (scores[1:] > 0.9).all()
    assert info.forward["means"].shape == (3, CLASSES, 2) and info.source_logits.shape == (
        3,
        20,
        CLASSES,
    )


def test_a_method_that_mixes_classes_up_does_not_come_back():
    assert score(permute=1)[0] < 0.2
    assert score(permute=1)[1].target_labels[0] != domains()[0].y[0]


@pytest.mark.parametrize("warm_start", [True, False])
def test_each_fit_is_given_its_own(warm_start):
    source, target, _ = domains()
    held_out, target_held_out, _ = domains(1)
    calls = []

    def remember(start, *arguments):
        calls.append((start, *arguments))
        return fit(start, *arguments)

    _, info = reverse_validation_accuracy(
        remember, predict, source, target, held_out=held_out, target_held_out=target_held_out,
        key=jax.random.key(0), warm_start=warm_start,
    )  # fmt: skip
    (start, *there, key), (again, back, to, stop, stop_to, reverse_key) = calls
    assert start is None and there[0] is source and there[1] is target
    assert there[2] is held_out and there[3] is target_held_out
    assert again is (info.forward if warm_start else None)
    # The reverse fit never sees a label of the source.
    assert (
        back.x is target and to is source.x and stop.x is target_held_out and stop_to is held_out.x
    )
    np.testing.assert_array_equal(back.y, predict(info.forward, target).argmax(-1))
    np.testing.assert_array_equal(stop.y, predict(info.forward, target_held_out).argmax(-1))
    assert key != reverse_key
