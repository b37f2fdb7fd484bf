"""What every divergence of two weighted samples must hold, whatever it computes.

``f`` is called as ``f(source, target, source_weights=..., target_weights=...)`` and gives a scalar.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


def quickly(f):
    """Compiled in less time, to slower code."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


def sampled(values, fast):
    """Parameters of a test, tuples or single ones, all but the fast ones marked as thorough."""
    return [
        value
        if value in fast
        else pytest.param(
            *(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.thorough
        )
        for value in values
    ]


def two(seed=0, n=7, m=9, d=3, dtype=np.float64):
    """Two different samples ``[n, d]`` and ``[m, d]``; ``d=None`` for ``[n]`` and ``[m]``."""
    draw = np.random.default_rng(seed)
    shape = () if d is None else (d,)
    source = draw.normal(size=(n, *shape))
    target = 0.5 + 1.3 * draw.normal(size=(m, *shape))
    return source.astype(dtype), target.astype(dtype)


def weights(seed, n):
    return np.random.default_rng(seed).uniform(0.5, 3, size=n)


def assert_zero_at_equality(f, d=3, atol=1e-12, smooth=True):
    """0 with gradient 0, in whatever order the points stand, and not 0 elsewhere.

    Without ``smooth`` the gradient is 0 only for samples that are equal to the last digit.
    """
    source, target = two(d=d)
    again = source[np.random.default_rng(3).permutation(len(source))]
    value_and_gradients = quickly(jax.value_and_grad(f, argnums=(0, 1)))
    for other in (source, again):
        value, gradients = value_and_gradients(source, other)
        np.testing.assert_allclose(value, 0, atol=atol)
        if smooth or other is source:
            np.testing.assert_allclose(gradients[0], 0, atol=np.sqrt(atol))
            np.testing.assert_allclose(gradients[1], 0, atol=np.sqrt(atol))
    assert value_and_gradients(source, target[:7])[0] > 1e-3


def assert_order_is_of_no_account(f, d=3, rtol=1e-10):
    source, target = two(d=d)
    a, b = weights(1, len(source)), weights(2, len(target))
    order = np.random.default_rng(4).permutation(len(source))
    compiled = quickly(_weighted(f))
    expected = compiled(source, target, a, b)
    np.testing.assert_allclose(compiled(source[order], target, a[order], b), expected, rtol=rtol)


def assert_symmetric(f, d=3, rtol=1e-10):
    source, target = two(d=d)
    a, b = weights(1, len(source)), weights(2, len(target))
    compiled = quickly(_weighted(f))
    there, back = compiled(source, target, a, b), compiled(target, source, b, a)
    np.testing.assert_allclose(there, back, rtol=rtol)


def assert_weights_are_weights(f, d=3, rtol=1e-10, atol=1e-12, repeat=True):
    """Their scale is of no account; 0 is absence; with ``repeat``, 2 is two points."""
    source, target = two(d=d)
    a, b = weights(1, len(source)), weights(2, len(target))
    compiled = quickly(_weighted(f))
    given = compiled(source, target, a, b)
    np.testing.assert_allclose(compiled(source, target, 100 * a, 0.01 * b), given, rtol=rtol)
    ones, others = np.ones(len(source)), np.ones(len(target))
    alike = quickly(f)(source, target)
    np.testing.assert_allclose(compiled(source, target, 3 * ones, others), alike, rtol=rtol)
    assert abs(alike - given) > 1e-3 * abs(given)

    # Absent points, and one of them far away.
    source[2], target[0] = 100.0, -1e6
    a[[2, 5]], b[0] = 0, 0
    mine, theirs = a > 0, b > 0
    there = quickly(jax.value_and_grad(_weighted(f), argnums=(0, 1)))
    value, gradients = there(source, target, a, b)
    expected, slices = there(source[mine], target[theirs], a[mine], b[theirs])
    np.testing.assert_allclose(value, expected, rtol=rtol)
    np.testing.assert_allclose(gradients[0][mine], slices[0], rtol=1e-6, atol=atol)
    np.testing.assert_allclose(gradients[1][theirs], slices[1], rtol=1e-6, atol=atol)
    assert not np.asarray(gradients[0])[~mine].any()
    assert not np.asarray(gradients[1])[~theirs].any()

    if repeat:
        source, target = two(d=d)
        counts = np.array([1.0, 2, 1, 3, 1, 1, 2])
        repeated = quickly(f)(np.repeat(source, counts.astype(int), axis=0), target)
        found = compiled(source, target, counts, others)
        np.testing.assert_allclose(found, repeated, rtol=rtol, atol=atol)


def assert_derivatives(f, d=3, rtol=1e-6, second=True):
    """Reverse and forward mode against central differences, in points and in weights."""
    source, target = two(d=d)
    arguments = (source, target, weights(1, len(source)), weights(2, len(target)))
    loss = _weighted(f)
    draw = np.random.default_rng(5)
    direction = tuple(draw.normal(size=x.shape) for x in arguments)
    step = 1e-5
    above, below = (
        tuple(x + by * t for x, t in zip(arguments, direction, strict=True)) for by in (step, -step)
    )

    def first(arguments, direction):
        value, forward = jax.jvp(loss, arguments, direction)
        return value, forward, jax.grad(loss, argnums=(0, 1, 2, 3))(*arguments)

    first = quickly(first)
    _, forward, gradients = first(arguments, direction)
    (up, _, up_gradients), (down, _, down_gradients) = (
        first(above, direction),
        first(below, direction),
    )
    np.testing.assert_allclose(forward, (up - down) / (2 * step), rtol=rtol)
    reverse = sum(jnp.vdot(g, t) for g, t in zip(gradients, direction, strict=True))
    np.testing.assert_allclose(reverse, forward, rtol=1e-8)
    if second:
        _, curvature = quickly(lambda *x: jax.jvp(jax.grad(loss, argnums=(0, 1)), x[:4], x[4:]))(
            *arguments, *direction
        )
        for high, low, found in zip(up_gradients[:2], down_gradients[:2], curvature, strict=True):
            difference = (high - low) / (2 * step)
            scale = np.abs(difference).max()
            np.testing.assert_allclose(found, difference, rtol=1e-4, atol=1e-5 * scale)
    twice = quickly(jax.grad(lambda x, *rest: jnp.sum(jnp.square(jax.grad(loss)(x, *rest)))))(
        *arguments
    )
    assert np.isfinite(twice).all() and np.abs(twice).max() > 0


def _weighted(f):
    return lambda x, y, a, b: f(x, y, source_weights=a, target_weights=b)


def assert_transforms(f, d=3, rtol=1e-10):
    """The same number under jit, and one number for each pair under vmap."""
    pairs = [two(seed, d=d) for seed in range(3)]
    a = weights(1, len(pairs[0][0]))

    def both(x, y):
        return jax.value_and_grad(lambda x: f(x, y, source_weights=a))(x)

    compiled = quickly(both)
    alone = [compiled(*pair) for pair in pairs]
    eager = f(*pairs[0], source_weights=a)
    np.testing.assert_allclose(alone[0][0], eager, rtol=rtol)
    source, target = (np.stack(side) for side in zip(*pairs, strict=True))
    values, gradients = quickly(jax.vmap(both))(source, target)
    for index, (value, gradient) in enumerate(alone):
        np.testing.assert_allclose(values[index], value, rtol=rtol)
        np.testing.assert_allclose(gradients[index], gradient, rtol=1e-7, atol=1e-12)


def assert_an_empty_side_is_0(f, d=3):
    """Traced weights that are all 0 give 0, and a gradient of 0, in every argument."""
    source, target = two(d=d, dtype=np.float32)

    full, none = np.ones(len(source), np.float32), np.zeros(len(source), np.float32)
    others, nothing = np.ones(len(target), np.float32), np.zeros(len(target), np.float32)
    both = quickly(jax.value_and_grad(_weighted(f), argnums=(0, 1, 2, 3)))
    for a, b in ((none, others), (full, nothing), (none, nothing)):
        value, gradients = both(source, target, a, b)
        assert value == 0
        assert not any(np.asarray(gradient).any() for gradient in gradients)


def assert_finite_where_points_coincide(f, d=3, least=1):
    """Value and derivatives for equal points, repeated points, and as few points as are allowed."""
    source, target = two(d=d, dtype=np.float32)
    ones, others = np.ones_like(source), np.ones_like(target)
    repeated = np.concatenate([source[:3], source[:3], target[:1]])
    few, fewer = source[:least], target[:least]

    @quickly
    def everything(x, y):
        along = (jnp.ones_like(x), jnp.ones_like(y))
        value, gradients = jax.value_and_grad(f, argnums=(0, 1))(x, y)
        tangent = jax.jvp(f, (x, y), along)[1]
        curvature = jax.jvp(jax.grad(f), (x, y), along)[1]
        return value, *gradients, tangent, curvature

    equal = [(ones, others), (ones, 3 * others), (ones, target), (source, others)]
    for x, y in [*equal, (repeated, target), (few, few), (few, fewer)]:
        for number in everything(x, y):
            assert number.dtype == jnp.float32
            assert np.isfinite(number).all()


def assert_half_precision_is_computed_in_float32(f, d=3):
    source, target = two(d=d, dtype=np.float32)
    source, target = jnp.asarray(source, jnp.bfloat16), jnp.asarray(target, jnp.bfloat16)
    value = f(source, target)
    assert value.dtype == jnp.float32
    expected = f(source.astype(jnp.float32), target.astype(jnp.float32))
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def assert_mistakes_are_refused(f, d=3, least=1):
    source, target = two(d=d, dtype=np.float32)
    shape = "[n]" if d is None else "[n, features]"
    with pytest.raises(TypeError, match="source must be of floating point; it is int32"):
        f(source.astype(np.int32), target)
    with pytest.raises(ValueError, match=rf"target must be an array {shape}".replace("[", r"\[")):
        f(source, target[None])
    if d is not None:
        with pytest.raises(ValueError, match="same number of features"):
            f(source, target[:, 1:])
    with pytest.raises(ValueError, match=f"source must hold at least {least} point"):
        f(source[: least - 1], target)
    with pytest.raises(ValueError, match="target_weights must hold one weight for each point"):
        f(source, target, target_weights=np.ones(len(target) + 1))
    with pytest.raises(ValueError, match="source must be finite"):
        f(np.full_like(source, np.nan), target)
    with pytest.raises(ValueError, match="source_weights must be finite and not negative"):
        f(source, target, source_weights=-np.ones(len(source)))
    with pytest.raises(ValueError, match=f"target_weights must hold at least {least} above 0"):
        f(source, target, target_weights=np.zeros(len(target)))


def assert_shards_equal_the_whole(f, atol):
    """A local loss and the global one: the mean of the shards' gradients is that of the whole.

    ``f`` also takes ``axis_name``. One shard holds no source point of a weight above 0.
    """
    source, target = two(n=8, m=12)
    a, b = weights(1, 8), weights(2, 12)
    a[:2] = 0
    matrix = np.random.default_rng(6).normal(size=(3, 3))

    def loss(matrix, x, y, a, b, axis_name=None):
        own = jnp.mean(jnp.sin(x @ matrix)) - jnp.mean(jnp.cos(y @ matrix))
        both = {"source_weights": a, "target_weights": b}
        return own + f(x @ matrix, y @ matrix, axis_name=axis_name, **both)

    def local(matrix, *shard):
        mine = f(shard[0] @ matrix, shard[1] @ matrix, axis_name="batch")
        value, gradient = jax.value_and_grad(loss)(matrix, *shard, axis_name="batch")
        return mine, *jax.lax.pmean((value, gradient), "batch")

    shards = [x.reshape(4, -1, *x.shape[1:]) for x in (source, target, a, b)]
    mine, values, gradients = quickly(
        jax.vmap(local, in_axes=(None, 0, 0, 0, 0), axis_name="batch")
    )(matrix, *shards)
    np.testing.assert_allclose(mine, np.full(4, f(source @ matrix, target @ matrix)), atol=atol)
    expected, gradient = quickly(jax.value_and_grad(loss))(matrix, source, target, a, b)
    for device in range(4):
        np.testing.assert_allclose(values[device], expected, atol=atol)
        np.testing.assert_allclose(gradients[device], gradient, atol=atol)
