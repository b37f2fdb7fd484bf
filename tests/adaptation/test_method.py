"""The machinery: players and their turns, phases, views, the rate, and what is supervised."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer import adaptation
from jaxfer.adaptation import Method, Player, entries
from jaxfer.adaptation.toy import toy_batch, toy_classifier
from jaxfer.adapters import DomainStates, linear_feature_map
from jaxfer.typing import DomainBatch, LabelledBatch

from . import problems
from .problems import equal, made, others, quickly

PARAMS = {"a": jnp.array([1.0, 2.0]), "b": jnp.array([3.0])}
KEY = jax.random.key(0)


def pull(name):
    """Half the square of an entry: its gradient is itself."""

    def loss(params, state, batch, *, step, key):
        value = 0.5 * jnp.sum(params[name] ** 2)
        return value, ({"turns": state["turns"] + 1}, {name: value})

    return loss


def play(players, *, step=0, optimiser=None, settle=None, times=1):
    optimiser = optimiser or optax.sgd(0.5)
    method = Method(init=None, players=players, predict=None)
    method = method if settle is None else method._replace(settle=settle)
    carry = PARAMS, {"turns": 0}, adaptation.init_optimiser(method, optimiser, PARAMS)
    for more in range(times):
        updated = adaptation.update(method, optimiser, *carry, None, step=step + more, key=KEY)
        carry = updated[:3]
    return updated


def test_players_train_their_entries_one_after_the_other():
    players = (
        Player(pull("a"), trains=entries("a")),
        Player(pull("b"), trains=entries("b"), repeats=3),
    )
    params, state, opt_state, metrics = play(players)
    np.testing.assert_array_equal(params["a"], [0.5, 1.0])
    np.testing.assert_array_equal(params["b"], [3.0 / 8])
    assert state["turns"] == 4 and len(opt_state) == 2
    assert metrics["loss"] == 2.5 and metrics["b"] == 4.5  # of the first turn


def test_a_player_whose_time_has_not_come_changes_nothing():
    optimiser = optax.adam(0.5)
    late = Player(pull("b"), trains=entries("b"), when=lambda step: step >= 5)
    early = Player(pull("a"), trains=entries("a"), when=lambda step: step < 5)
    for step, moved, fixed, loss in ((4, "a", "b", 2.5), (5, "b", "a", 4.5)):
        params, state, opt_state, metrics = play((early, late), step=step, optimiser=optimiser)
        assert (params[moved] != PARAMS[moved]).all() and (params[fixed] == PARAMS[fixed]).all()
        counts = [int(state[0].count) for state in opt_state]
        assert counts == ([1, 0] if step == 4 else [0, 1])
        assert state["turns"] == 1 and metrics["loss"] == loss


def test_a_view_is_computed_once_for_all_turns():
    calls = []

    def sees(params, state, batch, *, step, key):
        calls.append(1)
        return 2 * params["a"], {"turns": state["turns"] + 10}

    def loss(params, state, seen, *, step, key):
        return jnp.sum(seen) * params["b"][0], (state, {"seen": jnp.sum(seen)})

    params, state, _, metrics = play((Player(loss, entries("b"), repeats=3, sees=sees),))
    assert len(calls) == 1 and state["turns"] == 10 and metrics["seen"] == 6
    np.testing.assert_allclose(params["b"], 3 - 3 * 0.5 * 6)


def test_the_rate_is_that_of_the_step_for_every_player():
    rate = lambda step: 0.5 / (1 + step)  # noqa: E731
    optimiser = optax.chain(optax.identity(), adaptation.scale_by_step(rate))
    players = (Player(pull("a"), entries("a")), Player(pull("b"), entries("b"), repeats=2))
    params, *_ = play(players, optimiser=optimiser, times=2)
    np.testing.assert_allclose(params["a"], PARAMS["a"] * 0.5 * 0.75)
    np.testing.assert_allclose(params["b"], PARAMS["b"] * 0.5**2 * 0.75**2)


def test_settling_comes_last():
    def settle(params, state, step):
        return {**params, "b": params["a"].sum(keepdims=True)}, {
            "turns": 10 * state["turns"] + step
        }

    params, state, *_ = play((Player(pull("a"), entries("a")),), settle=settle, step=3)
    np.testing.assert_array_equal(params["b"], [1.5])
    assert state["turns"] == 13


def test_the_supervised_loss_is_cross_entropy():
    batch = toy_batch(6)
    labelled = LabelledBatch(batch.target[:2] + 1, jnp.array([1, 0]))
    batch = batch._replace(labelled_target=labelled)
    params, state = adaptation.init_classifier(toy_classifier(), KEY)
    weights = np.array([1.0, 0, 2, 3, 1, 1])

    @quickly
    def supervised(params, weights):
        outputs = adaptation.forward(toy_classifier(), params, state, batch, None)
        alone = outputs._replace(labelled_target=None)
        return (
            adaptation.supervised_loss(outputs, batch),
            adaptation.supervised_loss(outputs, batch, weights=weights)[0],
            adaptation.supervised_loss(alone, batch)[0],
        )

    def losses(x, y):
        features = np.asarray(x, float) @ params["encoder"]["weight"] + params["encoder"]["bias"]
        logits = np.asarray(features @ params["head"]["weight"] + params["head"]["bias"], float)
        return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(y)), np.asarray(y)]

    own, more = losses(*batch.source), losses(*labelled).mean()
    (value, metrics), weighted, alone = supervised(params, weights.astype(np.float32))
    np.testing.assert_allclose(value, own.mean() + more, rtol=1e-5)
    np.testing.assert_allclose(metrics["source_loss"], own.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["target_loss"], more, rtol=1e-5)
    np.testing.assert_allclose(weighted, (own * weights).sum() / 8 + more, rtol=1e-5)
    np.testing.assert_allclose(alone, own.mean(), rtol=1e-5)


def test_the_target_alone_is_what_it_is_beside_the_source():
    network = problems.classifier(batch_norm=True)
    batch = problems.batch(labelled=3)
    for statistics in ("separate", "per_domain"):
        network = network._replace(statistics=statistics)
        params, state = adaptation.init_classifier(network, KEY)

        @quickly
        def both(params, state, network=network):
            return tuple(
                f(network, params, state, batch, None)
                for f in (adaptation.forward, adaptation.forward_target)
            )

        outputs, (target, labelled, after) = both(params, state)
        np.testing.assert_allclose(target.logits, outputs.target.logits, rtol=1e-5)
        np.testing.assert_allclose(labelled.logits, outputs.labelled_target.logits, rtol=1e-5)
        assert labelled.logits.shape == (3, 3)
        if statistics == "separate":
            assert equal(after.target, outputs.state.target) and equal(after.source, state.source)
    frozen = network._replace(statistics="frozen")
    _, _, after = adaptation.forward_target(frozen, params, state, batch, None)
    assert equal(after, state)


def test_a_trained_start_fits_any_statistics():
    plain, apart = ({"mean": jnp.array(i)} for i in (1.0, 2.0))
    trained = {"encoder": 0, "head": 1, "adversary": 2}
    for state, statistics, expected in (
        (plain, "joint", plain),
        (plain, "separate", DomainStates(plain, plain)),
        (DomainStates(plain, apart), "joint", apart),
        (DomainStates(plain, apart), "separate", DomainStates(plain, apart)),
    ):
        network = toy_classifier()._replace(statistics=statistics)
        params, found = adaptation.init_classifier(network, KEY, (trained, state))
        assert params == {"encoder": 0, "head": 1} and found == expected


MOVES = {
    "mcd": [{"encoder", "head", "second_head"}, {"head", "second_head"}, {"encoder"}],
    "wdgrl": [{"critic"}, {"encoder", "head"}],
    "adda": [{"source_encoder", "head"}, {"adversary"}, {"encoder"}],
    "shot": [{"encoder", "head"}, {"encoder"}],
    "tent": [{"encoder", "head"}, {"encoder"}],
    "mean-teacher": [{"encoder", "head"}],
}


@pytest.mark.parametrize("name", others(pytest.mark.slow, MOVES, {"tent"}))
def test_players_move_their_own_entries_alone(name):
    method, batch = made(name), problems.batch()
    method = method._replace(
        players=tuple(player._replace(when=None, repeats=1) for player in method.players)
    )
    params, state = method.init(KEY)
    if name == "shot":
        state = state._replace(memory=jax.tree.map(lambda x: x + 0.1, state.memory))

    @quickly
    def alone(params, state):
        moved = []
        for player in method.players:
            one = Method(method.init, (player,), method.predict)
            opt_state = adaptation.init_optimiser(one, optax.sgd(0.1), params)
            updated = adaptation.update(
                one, optax.sgd(0.1), params, state, opt_state, batch, step=0, key=KEY
            )
            moved.append(updated.params)
        return moved

    found = alone(params, state)
    for after, names in zip(found, MOVES[name], strict=True):
        assert {entry for entry in params if not equal(after[entry], params[entry])} == names
    if name == "tent":
        last = found[-1]["encoder"]
        assert equal(last["dense"], params["encoder"]["dense"])
        assert not equal(last["norm"], params["encoder"]["norm"])


def test_a_critic_without_a_name_is_no_entry():
    method = adaptation.play(toy_classifier(), (), parts={"critic": linear_feature_map(3, 1)})
    params, _ = method.init(KEY)
    assert entries("critic")(params) == {"encoder": False, "head": False, "critic": True}
    assert isinstance(toy_batch(), DomainBatch)
