"""Every method that the experiments know, by what all of them have in common."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer import adaptation
from jaxfer.experiments.adaptation_methods import METHODS

from . import problems
from .problems import STEPS, equal, made, others, quickly

FAST = {"dann", "shot"}
PHASES = {"adda", "shot", "tent"}


def steps_of(method, batch, *, rate=0.02, steps=STEPS):
    """``train(seed) -> (params, state, metrics [steps])`` on one batch."""
    optimiser = optax.adam(rate)

    def train(params, state, key):
        def one(carry, step):
            updated = adaptation.update(
                method, optimiser, *carry, batch, step=step, key=jax.random.fold_in(key, step)
            )
            return (updated.params, updated.state, updated.opt_state), updated.metrics

        opt_state = adaptation.init_optimiser(method, optimiser, params)
        carry, metrics = jax.lax.scan(one, (params, state, opt_state), jnp.arange(steps))
        return carry[0], carry[1], metrics

    return train


def stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@pytest.mark.parametrize("name", others(pytest.mark.slow, METHODS, FAST))
def test_every_method_takes_steps(name):
    """Two seeds as one program: all is finite, what is supervised is learnt, both seeds differ."""
    method, batch = made(name), problems.batch(24, 16, labelled=3)
    keys = jax.random.split(jax.random.key(0))
    start = stacked([method.init(key) for key in keys])
    train = quickly(jax.vmap(steps_of(method, batch)))
    params, state, metrics = train(*start, keys)
    for leaf in jax.tree.leaves((params, state, metrics)):
        assert np.isfinite(leaf).all()
    assert jax.tree.structure((params, state)) == jax.tree.structure(start)
    losses = np.asarray(metrics["source_loss"])
    last = STEPS // 2 - 1 if name in PHASES else -1
    assert (losses[:, last] < 0.8 * losses[:, 0]).all()
    assert (losses[0] != losses[1]).any()
    one = jax.tree.map(lambda leaf: leaf[1], (params, state))
    predicted = method.predict(*one, batch.target)
    assert predicted.features.shape == (16, 8)
    assert predicted.logits.shape == (16, 4 if name == "osbp" else 3)
    assert jax.tree.all(
        jax.tree.map(lambda old, new: old.dtype == new.dtype, start, (params, state))
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_method_starts_from_a_trained_network(name):
    """And without one from the values of its key."""
    method = made(name, trained=True)
    assert all(player.when is None for player in method.players)
    trained, state = method.init(jax.random.key(1))
    trained = trained, state.network if isinstance(state, adaptation.Remembered) else state
    key = jax.random.key(2)
    params, state = method.init(key, trained)
    fresh, others = method.init(key)
    taken = {"encoder", "head", "source_encoder", "teacher"} & set(params)
    expected = {
        "encoder": trained[0]["encoder"],
        "head": trained[0]["head"],
        "source_encoder": trained[0]["encoder"],
        "teacher": {name: trained[0][name] for name in ("encoder", "head")},
    }
    for entry in taken:
        assert equal(params[entry], expected[entry])
        assert not equal(params[entry], fresh[entry])
    for entry in set(params) - taken:
        assert equal(params[entry], fresh[entry])
    assert jax.tree.structure(state) == jax.tree.structure(others)


@pytest.mark.parametrize(
    "name",
    others(
        pytest.mark.thorough, [n for n in METHODS if n not in ("tent", "adabn")], {"source-only"}
    ),
)
def test_target_labels_enter_as_their_cross_entropy(name, x64):
    """In that player's loss who trains the network on labels; TENT has no use for them."""
    method = made(name, trained=True)
    batch = problems.batch(12, 8, labelled=4)
    params, state = method.init(jax.random.key(0))
    loss = method.players[0 if name == "mcd" else -1].loss
    if name == "mcd":
        params["second_head"] = params["head"]

    @quickly
    def both(params, batch):
        step = jnp.array(3)
        key = jax.random.key(1)
        there, _ = loss(params, state, batch, step=step, key=key)
        away, _ = loss(params, state, batch._replace(labelled_target=None), step=step, key=key)
        return there, away

    there, away = both(params, batch)
    x, y = batch.labelled_target
    logits = np.asarray(method.predict({**params, "teacher": params}, state, x).logits, np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log(shares[np.arange(4), np.asarray(y)]).mean()
    np.testing.assert_allclose(there - away, (2 if name == "mcd" else 1) * expected, rtol=1e-5)


SHARDED = ["pada", "shot", "adda", "cdan+e", "mcc", "mdd", "jan", "coral", "bnm", "infomax"]


@pytest.mark.parametrize("name", others(pytest.mark.thorough, SHARDED, {"mcc"}))
def test_four_devices_equal_one(name, x64):
    batch = problems.batch(24, 16)
    whole, part = made(name), made(name, axis_name="batch")
    params, state = jax.tree.map(lambda x: x.astype(float), whole.init(jax.random.key(0)))
    optimiser = optax.sgd(0.1)

    def two_steps(method, params, state, batch, axis_name=None):
        opt_state = adaptation.init_optimiser(method, optimiser, params)
        for step in (STEPS - 2, STEPS - 1):
            params, state, opt_state, metrics = adaptation.update(
                method, optimiser, params, state, opt_state, batch,
                step=step, key=jax.random.key(step), axis_name=axis_name,
            )  # fmt: skip
        return params, state, metrics["loss"]

    def shard(batch):
        return two_steps(part, params, state, batch, "batch")

    batch = jax.tree.map(lambda x: x.astype(float) if x.dtype == np.float32 else x, batch)
    shards = jax.tree.map(lambda x: x.reshape(4, -1, *x.shape[1:]), batch)
    found = quickly(jax.vmap(shard, axis_name="batch"))(shards)
    expected = quickly(lambda batch: two_steps(whole, params, state, batch))(batch)
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        for device in range(4):
            np.testing.assert_allclose(mine[device], theirs, rtol=1e-6, atol=1e-9)
    assert not equal(expected[0]["encoder"], params["encoder"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        # Without DAN, which is blind to the classes and may turn either way.
        ("source-only", "jan", "dsan", "coral"),
        ("source-only", "dann", "cdan+e", "wdgrl", "mcd"),
        ("source-only", "mcc", "bnm", "infomax", "shot"),
    ],
)
def test_the_target_gains_from_adaptation(names):
    """Three classes in the plane, turned by 52 degrees and moved: the mean of three seeds."""
    steps = 400
    source, (z, t) = problems.blobs(), problems.blobs(turn=0.9, move=(0.8, 0.3), seed=1)
    source, z = jax.tree.map(jnp.asarray, (source, z))
    accuracy = {}
    for name in names:
        method = METHODS[name](problems.recipe(problems.classifier(), steps=steps))

        def train(seed, method=method):
            params, state, _ = problems.run(method, source, z, steps=steps)(seed)
            return jnp.argmax(method.predict(params, state, z).logits, axis=1)

        predicted = quickly(jax.vmap(train))(jnp.arange(3))
        accuracy[name] = (np.asarray(predicted) == t).mean()
    for name in names[1:]:
        assert accuracy[name] > accuracy["source-only"] + 0.08, accuracy
