"""Two domains and one network: whose statistics each of the four ways takes, and what it records."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.adapters import DomainStates, apply_to_domains


def network(params, state, x, *, train, key):
    """A batch norm with a record of momentum 0.9, a weight, and noise where there is a key."""
    mean = x["x"].mean(0) if train else state["mean"]
    noise = 0.0 if key is None or not train else jax.random.normal(key, x["x"].shape)
    recorded = {"mean": 0.9 * state["mean"] + 0.1 * mean} if train else state
    return {"features": params * (x["x"] - mean) + noise, "scores": x["x"].sum(1)}, recorded


def batches():
    draw = np.random.default_rng(0)
    return {"x": draw.normal(size=(4, 3))}, {"x": 5 + draw.normal(size=(6, 3))}


STATE = {"mean": np.ones(3)}


def call(statistics, state=STATE, **options):
    f = lambda params, state, x, y: apply_to_domains(  # noqa: E731
        network, params, state, x, y, statistics=statistics, **options
    )
    return jax.jit(f)(2.0, state, *batches())


def test_joint(x64):
    x, y = batches()
    mean = np.concatenate([x["x"], y["x"]]).mean(0)
    found = call("joint")
    np.testing.assert_allclose(found.source["features"], 2 * (x["x"] - mean), rtol=1e-12)
    np.testing.assert_allclose(found.target["features"], 2 * (y["x"] - mean), rtol=1e-12)
    np.testing.assert_allclose(found.target["scores"], y["x"].sum(1), rtol=1e-12)
    np.testing.assert_allclose(found.state["mean"], 0.9 + 0.1 * mean, rtol=1e-12)


def test_per_domain(x64):
    x, y = batches()
    a, b = x["x"].mean(0), y["x"].mean(0)
    found = call("per_domain")
    np.testing.assert_allclose(found.source["features"], 2 * (x["x"] - a), rtol=1e-12)
    np.testing.assert_allclose(found.target["features"], 2 * (y["x"] - b), rtol=1e-12)
    np.testing.assert_allclose(found.state["mean"], 0.9 * (0.9 + 0.1 * a) + 0.1 * b, rtol=1e-12)


def test_separate(x64):
    x, y = batches()
    a, b = x["x"].mean(0), y["x"].mean(0)
    states = DomainStates({"mean": np.ones(3)}, {"mean": np.full(3, 4.0)})
    found = call("separate", states)
    np.testing.assert_allclose(found.source["features"], 2 * (x["x"] - a), rtol=1e-12)
    np.testing.assert_allclose(found.target["features"], 2 * (y["x"] - b), rtol=1e-12)
    np.testing.assert_allclose(found.state.source["mean"], 0.9 + 0.1 * a, rtol=1e-12)
    np.testing.assert_allclose(found.state.target["mean"], 3.6 + 0.1 * b, rtol=1e-12)
    # In evaluation each domain has its own record.
    found = call("separate", states, train=False)
    np.testing.assert_allclose(found.source["features"], 2 * (x["x"] - 1), rtol=1e-12)
    np.testing.assert_allclose(found.target["features"], 2 * (y["x"] - 4), rtol=1e-12)
    np.testing.assert_array_equal(found.state.target["mean"], 4)


@pytest.mark.parametrize("train", [True, False])
def test_frozen(train, x64):
    x, y = batches()
    found = call("frozen", train=train)
    np.testing.assert_allclose(found.source["features"], 2 * (x["x"] - 1), rtol=1e-12)
    np.testing.assert_allclose(found.target["features"], 2 * (y["x"] - 1), rtol=1e-12)
    np.testing.assert_array_equal(found.state["mean"], 1)


def test_frozen_keeps_its_state_whatever_the_network_returns():
    def forgetful(params, state, x, *, train, key):
        return x, {"mean": jnp.full(3, np.nan)}

    x, y = batches()
    found = apply_to_domains(forgetful, 1.0, STATE, x, y, statistics="frozen")
    assert found.state is STATE


def test_evaluation_is_the_same_in_the_three_ways_with_one_record(x64):
    for statistics in ("per_domain", "frozen"):
        for expected, found in zip(
            jax.tree.leaves(call("joint", train=False)),
            jax.tree.leaves(call(statistics, train=False)),
            strict=True,
        ):
            np.testing.assert_allclose(found, expected)


@pytest.mark.slow
def test_domains_draw_numbers_of_their_own(x64):
    def noise(statistics, **options):
        with_key, without = call(statistics, key=jax.random.key(0), **options), call(statistics)
        return (
            with_key.source["features"] - without.source["features"],
            with_key.target["features"] - without.target["features"],
        )

    for statistics in ("joint", "per_domain"):
        a, b = noise(statistics)
        assert np.abs(a - b[:4]).min() > 1e-6
    assert not np.any(noise("frozen")[0])


def test_the_gradient_flows_through_the_statistics_of_the_batch(x64):
    x, y = batches()

    def loss(x, statistics):
        out = apply_to_domains(network, 2.0, STATE, {"x": x}, y, statistics=statistics)
        return jnp.sum(jnp.sin(out.target["features"]))

    assert np.abs(jax.grad(loss)(x["x"], "joint")).max() > 1e-3
    assert not np.any(jax.grad(loss)(x["x"], "per_domain"))


def test_mistakes_are_refused():
    x, y = batches()
    with pytest.raises(ValueError, match="statistics must be 'joint', .* it is 'both'"):
        call("both")
    with pytest.raises(TypeError, match="state must be DomainStates.* for 'separate' it is a dict"):
        call("separate")
    with pytest.raises(TypeError, match="for 'joint' it is a DomainStates"):
        call("joint", DomainStates(STATE, STATE))
    with pytest.raises(ValueError, match="must be one batch but for their sizes"):
        apply_to_domains(network, 2.0, STATE, x, {"x": y["x"][:, 1:]}, statistics="joint")
    with pytest.raises(ValueError, match="must be one batch but for their sizes"):
        apply_to_domains(network, 2.0, STATE, x, {"z": y["x"]}, statistics="joint")
    with pytest.raises(ValueError, match=r"every output must be an array \[10, ...\].*per_domain"):
        apply_to_domains(
            lambda p, s, x, *, train, key: (x["x"].sum(), s), 2.0, STATE, x, y, statistics="joint"
        )
