"""What every loss holds whatever it computes: one compiled program for many inputs at once.

A batch-coupled loss is called as ``f(x, weights=..., axis_name=...)`` or, of two samples, as
``f(x, y, source_weights=..., target_weights=..., axis_name=...)``; a per-example one as ``f(*logits,
axis=..., where=...)``.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ..divergences import checks, predictions


def whole(f):
    """A loss compiled as a whole; called eagerly, each of its operations would be, for each shape."""

    @cache
    def compiled(static):
        return jax.jit(partial(f, **dict(static)))

    def call(*arrays, **options):
        arguments = {
            k: x for k, x in options.items() if isinstance(x, (float, np.ndarray, jax.Array))
        }
        static = tuple((k, x) for k, x in options.items() if k not in arguments)
        return compiled(static)(*arrays, **arguments)

    return call


def grad(f, argnums=0):
    return jax.jit(jax.grad(f, argnums))


def value_and_grad(f, argnums=0):
    return jax.jit(jax.value_and_grad(f, argnums))


NAMES = {1: ("weights",), 2: ("source_weights", "target_weights")}


def assert_batch_coupled(f, samples=1, *, repeat=True, smooth=True):
    """All but second derivatives. Not ``smooth``: something is held constant in differentiation."""
    loss, rows, direction = _loss(f, samples), *_rows(samples)
    (base, garbage), row = (rows["base"], rows["absent"]), {name: i for i, name in enumerate(rows)}

    @checks.quickly
    @jax.vmap
    def everything(inputs):
        value, gradient = jax.value_and_grad(loss)(inputs)
        return value, gradient, jax.jvp(loss, (inputs,), (direction,))[1]

    counts = rows["repeated"][samples:]
    many = [np.repeat(x, n.astype(int), axis=0) for x, n in zip(base, counts, strict=False)]
    kept = [w > 0 for w in garbage[samples:]]
    sliced = tuple(x[k] for x, k in zip(garbage, 2 * kept, strict=True))

    @checks.quickly
    def one_by_one(base, sliced, many):
        return loss(base), f(*base[:samples]), loss(sliced), f(*many)

    values, gradients, forward = jax.tree.map(np.asarray, everything(_stacked(rows)))
    alone, without, some, repeated = one_by_one(base, sliced, many)
    close, value = np.testing.assert_allclose, values[0]
    for name, index in row.items():
        found = (values, *gradients, forward)
        assert all(np.isfinite(number[index]).all() for number in found), name
    close(alone, value, rtol=1e-10)
    for name in ("in another order", "other scales"):
        close(values[row[name]], value, rtol=1e-10, atol=1e-12)
    assert abs(values[row["alike"]] - value) > 1e-4 * abs(value)
    close(without, values[row["alike"]], rtol=1e-10)
    if repeat:
        close(repeated, values[row["repeated"]], rtol=1e-10, atol=1e-12)

    # What is absent is sliced away, whatever stands there.
    close(values[row["absent too"]], values[row["absent"]], rtol=1e-10)
    close(some, values[row["absent"]], rtol=1e-10)
    for gradient, k in zip(gradients[:samples], kept, strict=True):
        there, too = gradient[row["absent"]], gradient[row["absent too"]]
        assert not there[~k].any() and there[k].any()
        close(too, there, rtol=1e-6, atol=1e-12)
    for name in NAMES[samples]:
        assert values[row[f"{name} empty"]] == 0
        assert not any(gradient[row[f"{name} empty"]].any() for gradient in gradients)

    reverse = sum(np.vdot(g[0], t) for g, t in zip(gradients, direction, strict=True))
    close(reverse, forward[0], rtol=1e-8)
    if smooth:
        close(forward[0], (values[1] - values[2]) / (2 * STEP), rtol=1e-6)
    # Half precision is computed in float32.
    for dtype in (jnp.bfloat16, jnp.float32):
        half = [jax.ShapeDtypeStruct(x.shape, dtype) for x in base[:samples]]
        assert jax.eval_shape(f, *half).dtype == jnp.float32


def assert_second_derivatives(f, samples=1, *, smooth=True):
    """Forward over reverse against differences of gradients, finite everywhere; and reverse twice."""
    loss, rows, direction = _loss(f, samples), *_rows(samples)

    @checks.quickly
    @jax.vmap
    def both(inputs):
        gradient, curvature = jax.jvp(jax.grad(loss), (inputs,), (direction,))
        twice = jax.grad(lambda x: sum(map(jnp.vdot, jax.grad(loss)(x), direction)))(inputs)
        return gradient, curvature, twice

    gradients, curvature, twice = jax.tree.map(np.asarray, both(_stacked(rows)))
    for index, name in enumerate(rows):
        assert all(np.isfinite(x[index]).all() for x in (*curvature, *twice)), name
    assert np.abs(curvature[0][0]).max() > 0
    for gradient, found, again in zip(gradients, curvature, twice, strict=True):
        difference = (gradient[1] - gradient[2]) / (2 * STEP)
        if smooth:
            scale = np.abs(difference).max()
            np.testing.assert_allclose(found[0], difference, rtol=1e-4, atol=1e-5 * scale)
            np.testing.assert_allclose(again[0], found[0], rtol=1e-6, atol=1e-8 * scale)


STEP = 1e-5


def _loss(f, samples):
    """``f`` of one tuple: the samples, then their weights."""

    def loss(inputs):
        return f(*inputs[:samples], **dict(zip(NAMES[samples], inputs[samples:], strict=True)))

    return loss


def _rows(samples):
    """Named inputs: one, a step beside it on either side, and others that say something of it."""
    points = checks.two()[:samples]
    weights = [checks.weights(index + 1, len(x)) for index, x in enumerate(points)]
    base = (*points, *weights)
    draw = np.random.default_rng(5)
    direction = tuple(draw.normal(size=x.shape) for x in base)
    orders = [draw.permutation(len(x)) for x in points]
    absent = [np.array([2, 5]), np.array([0])][:samples]
    scales = (100, 0.01)[:samples]
    rows = {
        "base": base,
        "above": tuple(x + STEP * t for x, t in zip(base, direction, strict=True)),
        "below": tuple(x - STEP * t for x, t in zip(base, direction, strict=True)),
        "in another order": tuple(x[o] for x, o in zip(base, 2 * orders, strict=True)),
        "other scales": (*points, *(s * w for s, w in zip(scales, weights, strict=True))),
        "alike": (*points, *(3 * np.ones_like(w) for w in weights)),
        "repeated": (*points, *(np.arange(len(w)) % 3 + 1.0 for w in weights)),
        "absent": _without(base, absent, 100.0),
        "absent too": _without(base, absent, -1e3),
        "equal points": tuple(np.ones_like(x) for x in base),
        "points at 0": (*(np.zeros_like(x) for x in points), *weights),
        "pairs of points": tuple(x[np.arange(len(x)) // 2] for x in base),
        "one point": (*points, *(np.eye(len(w))[1] for w in weights)),
    }
    for index, name in enumerate(NAMES[samples], samples):
        rows[f"{name} empty"] = (*base[:index], 0 * base[index], *base[index + 1 :])
    return rows, direction


def _stacked(rows):
    return tuple(np.stack(column) for column in zip(*rows.values(), strict=True))


def _without(inputs, absent, value):
    inputs = [x.copy() for x in inputs]
    for i, index in enumerate(absent):
        inputs[i][index], inputs[len(absent) + i][index] = value, 0
    return tuple(inputs)


def assert_per_example(f, arrays=1, *, axes=True):
    """All of it, in float64: one number an example, ``where``, derivatives, extreme logits.

    Without ``axes`` there is one axis of classes alone.
    """
    base = predictions.logits()[:arrays]
    direction = predictions.logits(seed=1, scale=1.0)[:arrays]
    extreme = np.float64(
        [[1e4, -1e4, 0, 0], [-1e4, 1e4, 1e4, 0], 4 * [1e4], [0, 0, 1e-30, 0], 4 * [0]]
    )
    step, everywhere = 1e-5, np.ones((5, 4), bool)
    where = everywhere.copy()
    where[:, 1] = where[2, 3] = where[4] = False
    masked = base.copy()
    masked[:, ~where] = 1e5
    drawn = (base, base + step * direction, base - step * direction)
    others = np.stack([extreme] * arrays), np.stack([extreme, -extreme])[:arrays]
    rows = np.stack([*drawn, masked, *others])
    masks = np.stack([everywhere] * 3 + [where] + [everywhere] * 2)

    @checks.quickly
    @jax.vmap
    def everything(z, where):
        def total(z):
            each = f(*z, where=where)
            return each @ jnp.arange(1.0, 6), each

        gradient = jax.grad(total, has_aux=True)
        forward = jax.jvp(total, (z,), (direction,))[1][0]
        (found, each), (curvature, _) = jax.jvp(gradient, (z,), (direction,))
        return each, found, forward, curvature

    found = jax.tree.map(np.asarray, everything(rows, masks))
    assert all(np.isfinite(number).all() for number in found)
    each, gradient, forward, curvature = found
    close = np.testing.assert_allclose
    expected = each[0]
    assert expected.shape == (5,) and expected.any()
    close(np.vdot(gradient[0], direction), forward[0], rtol=1e-9)
    by = np.arange(1.0, 6)
    close(forward[0], by @ (each[1] - each[2]) / (2 * step), rtol=1e-6, atol=1e-9)
    close(curvature[0], (gradient[1] - gradient[2]) / (2 * step), rtol=1e-4, atol=1e-5)
    # What is left out is sliced away; it broadcasts, as in optax.
    assert not gradient[3][:, ~where].any() and each[3, 4] == 0
    kept = where[0]

    @checks.quickly
    def in_other_ways(base, masked):
        alike = [f(*base), f(*base.swapaxes(1, 2), axis=0)]
        if axes:
            alike.append(f(*base.reshape(arrays, 5, 2, 2), axis=(1, 2)))
        sliced = f(*masked[:, :2][..., kept]), f(*masked[:, 2][..., where[2]])
        return alike, sliced, f(*masked[:, :2], where=kept)

    alike, sliced, broadcast = in_other_ways(base, masked)
    for found in alike:
        close(found, expected, rtol=1e-10)
    close(sliced[0], each[3, :2], rtol=1e-12)
    close(sliced[1], each[3, 2], rtol=1e-12)
    close(broadcast, each[3, :2], rtol=1e-12)
    jax.eval_shape(jax.grad(lambda z: jnp.sum(jax.grad(lambda z: f(*z).sum())(z) ** 2)), base)
    half = jax.ShapeDtypeStruct((5, 4), jnp.bfloat16)
    assert jax.eval_shape(f, *[half] * arrays) == jax.ShapeDtypeStruct((5,), jnp.float32)


def assert_finite_in_float32(f, arrays=1):
    """Value, gradient and curvature for sure, equal and tiny logits."""
    rows = np.float32([[1e4, -1e4, 0], [-1e4, 1e4, 1e4], [1e4, 1e4, 1e4], [0, 0, 1e-30]])

    @checks.quickly
    @jax.vmap
    def derivatives(z):
        def total(z):
            return f(*z).sum()

        value, gradient = jax.value_and_grad(total)(z)
        return value, gradient, jax.jvp(jax.grad(total), (z,), (1e-4 * rows + 0 * z,))[1]

    others = (rows, rows[::-1], -rows, 0 * rows)
    for number in derivatives(np.stack([np.stack([rows, x])[:arrays] for x in others])):
        assert number.dtype == jnp.float32 and np.isfinite(number).all()


def assert_one_sample_mistakes_are_refused(f, name, weights_name="weights"):
    x = checks.two(dtype=np.float32)[0]
    with pytest.raises(TypeError, match=f"{name} must be of floating point; it is int32"):
        f(x.astype(np.int32))
    with pytest.raises(ValueError, match=rf"{name} must be an array \[n, features\]; it has the"):
        f(x[None])
    with pytest.raises(ValueError, match=f"{name} must be finite"):
        f(np.full_like(x, np.nan))
    for weights, message in (
        (np.ones(len(x) + 1), f"{weights_name} must hold one weight for each point of {name}"),
        (-np.ones(len(x)), f"{weights_name} must be finite and not negative"),
        (np.zeros(len(x)), f"{weights_name} must hold at least 1 above 0; 0 of 7 are"),
    ):
        with pytest.raises(ValueError, match=message):
            f(x, **{weights_name: weights})


def assert_two_sample_mistakes_are_refused(f, names, rank):
    d = None if rank == 1 else 3
    source, target = checks.two(d=d, dtype=np.float32)
    shape = r"\[n\]" if rank == 1 else r"\[n, features\]"
    with pytest.raises(TypeError, match=f"{names[0]} must be of floating point; it is int32"):
        f(source.astype(np.int32), target)
    with pytest.raises(ValueError, match=f"{names[1]} must be an array {shape}; it has the shape"):
        f(source, target[..., None])
    with pytest.raises(ValueError, match=f"{names[0]} must hold at least 1 point"):
        f(source[:0], target)
    with pytest.raises(ValueError, match=f"{names[1]} must be finite"):
        f(source, np.full_like(target, np.inf))
    with pytest.raises(ValueError, match=f"one weight for each point of {names[0]}"):
        f(source, target, source_weights=np.ones(len(source) + 1))
    with pytest.raises(ValueError, match="target_weights must hold at least 1 above 0"):
        f(source, target, target_weights=np.zeros(len(target)))
