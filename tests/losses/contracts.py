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


def assert_batch_coupled(f, samples=1, *, repeat=True, smooth=True, atol=1e-9):
    """All of it, in float64. Not ``smooth``: something in it is held constant in differentiation."""
    count, names = samples, NAMES[samples]

    def loss(inputs, axis_name=None):
        options = dict(zip(names, inputs[count:], strict=True))
        if axis_name is not None:
            options["axis_name"] = axis_name
        return f(*inputs[:count], **options)

    @checks.quickly
    @jax.vmap
    def everything(inputs, direction):
        value, gradient = jax.value_and_grad(loss)(inputs)
        forward = jax.jvp(loss, (inputs,), (direction,))[1]
        return value, gradient, forward, jax.jvp(jax.grad(loss), (inputs,), (direction,))[1]

    base = _drawn(count)
    draw = np.random.default_rng(5)
    direction = tuple(draw.normal(size=x.shape) for x in base)
    step = 1e-5
    orders = [draw.permutation(len(x)) for x in base[:count]]
    absent = [np.array([2, 5]), np.array([0])][:count]
    garbage = [_without(base, absent, value) for value in (100.0, -1e3)]
    scales = (100, 0.01)[:count]
    counts = [np.arange(len(x)) % 3 + 1.0 for x in base[:count]]
    rows = {
        "base": base,
        "above": tuple(x + step * t for x, t in zip(base, direction, strict=True)),
        "below": tuple(x - step * t for x, t in zip(base, direction, strict=True)),
        "in another order": tuple(x[o] for x, o in zip(base, 2 * orders, strict=True)),
        "other scales": (
            *base[:count],
            *(s * w for s, w in zip(scales, base[count:], strict=True)),
        ),
        "alike": (*base[:count], *(3 * np.ones_like(w) for w in base[count:])),
        "repeated": (*base[:count], *counts),
        "absent": garbage[0],
        "absent too": garbage[1],
        "equal points": tuple(np.ones_like(x) for x in base),
        "points at 0": (*(np.zeros_like(x) for x in base[:count]), *base[count:]),
        "pairs of points": tuple(x[np.arange(len(x)) // 2] for x in base),
        "one point": (*base[:count], *(np.eye(len(w))[1] for w in base[count:])),
    }
    for index, name in enumerate(names, count):
        rows[f"{name} empty"] = (*base[:index], 0 * base[index], *base[index + 1 :])
    stacked = tuple(np.stack(column) for column in zip(*rows.values(), strict=True))
    directions = tuple(np.stack([t] * len(rows)) for t in direction)
    values, gradients, forward, curvature = jax.tree.map(
        np.asarray, everything(stacked, directions)
    )
    row = {name: index for index, name in enumerate(rows)}

    for name, index in row.items():
        found = (values, *gradients, forward, *curvature)
        assert all(np.isfinite(number[index]).all() for number in found), name
    close = np.testing.assert_allclose
    value = values[0]
    for name in ("in another order", "other scales"):
        close(values[row[name]], value, rtol=1e-10, atol=1e-12)
    assert abs(values[row["alike"]] - value) > 1e-4 * abs(value)
    many = [np.repeat(x, n.astype(int), axis=0) for x, n in zip(base, counts, strict=False)]
    kept = [w > 0 for w in garbage[0][count:]]
    sliced = tuple(x[k] for x, k in zip(garbage[0], 2 * kept, strict=True))
    one, without, some, repeated = checks.quickly(
        lambda base, sliced, many: (loss(base), f(*base[:count]), loss(sliced), f(*many))
    )(base, sliced, many)
    close(one, value, rtol=1e-10)  # without vmap
    close(without, values[row["alike"]], rtol=1e-10)
    if repeat:
        close(repeated, values[row["repeated"]], rtol=1e-10, atol=1e-12)

    # What is absent is sliced away, whatever stands there.
    close(values[row["absent too"]], values[row["absent"]], rtol=1e-10)
    close(some, values[row["absent"]], rtol=1e-10)
    for gradient, k in zip(gradients[:count], kept, strict=True):
        there, too = gradient[row["absent"]], gradient[row["absent too"]]
        assert not there[~k].any() and there[k].any()
        close(too, there, rtol=1e-6, atol=1e-12)
    for name in names:
        assert values[row[f"{name} empty"]] == 0
        assert not any(gradient[row[f"{name} empty"]].any() for gradient in gradients)

    reverse = sum(np.vdot(g[0], t) for g, t in zip(gradients, direction, strict=True))
    close(reverse, forward[0], rtol=1e-8)
    assert np.abs(curvature[0][0]).max() > 0
    if smooth:
        close(forward[0], (values[1] - values[2]) / (2 * step), rtol=1e-6)
        for found, gradient in zip(curvature[:count], gradients, strict=False):
            difference = (gradient[1] - gradient[2]) / (2 * step)
            close(found[0], difference, rtol=1e-4, atol=1e-5 * np.abs(difference).max())
    # Reverse over reverse exists; half precision is computed in float32.
    jax.eval_shape(jax.grad(lambda x: sum(jnp.sum(g**2) for g in jax.grad(loss)(x))), base)
    for dtype in (jnp.bfloat16, jnp.float32):
        half = [jax.ShapeDtypeStruct(x.shape, dtype) for x in base[:count]]
        assert jax.eval_shape(f, *half).dtype == jnp.float32
    _assert_shards_equal_the_whole(loss, count, atol)


def _assert_shards_equal_the_whole(loss, count, atol):
    """Of a local loss and the global one the mean of the shards' gradients is that of the whole."""
    whole = _drawn(count, sizes=(8, 12))
    whole[count][:2] = 0  # one shard of the first sample is empty
    matrix = np.random.default_rng(6).normal(size=(3, 3))

    def total(matrix, inputs, axis_name=None):
        mapped = tuple(x @ matrix for x in inputs[:count])
        value = loss((*mapped, *inputs[count:]), axis_name)
        return sum(jnp.mean(jnp.sin(x)) for x in mapped) + value, value

    def local(matrix, *inputs):
        (_, value), gradient = jax.value_and_grad(total, has_aux=True)(matrix, inputs, "batch")
        return value, jax.lax.pmean(gradient, "batch")

    @checks.quickly
    def both(matrix, whole):
        shards = [x.reshape(4, -1, *x.shape[1:]) for x in whole]
        mapped = jax.vmap(local, (None, *[0] * len(whole)), axis_name="batch")(matrix, *shards)
        return mapped, jax.value_and_grad(total, has_aux=True)(matrix, whole)

    (values, gradients), ((_, value), gradient) = both(matrix, whole)
    np.testing.assert_allclose(values, np.full(4, value), atol=atol)
    np.testing.assert_allclose(gradients, np.stack([gradient] * 4), atol=atol)


def _drawn(count, sizes=(7, 9)):
    points = checks.two(n=sizes[0], m=sizes[1])[:count]
    return *points, *(checks.weights(i + 1, len(x)) for i, x in enumerate(points))


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
