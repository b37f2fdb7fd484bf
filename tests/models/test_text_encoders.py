"""Encoders of texts: against NumPy and PyTorch, and what padding does not do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfer.models import BagOfEmbeddings, RecurrentEncoder, from_nnx

from .encoders import count, random_numbers, sizes

TOKENS = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0], [7, 0, 0, 0, 0], [0, 0, 0, 0, 0]], np.int32)


def recurrent(**options):
    options = {"width": 3, "features": 4} | options
    return from_nnx(lambda rngs: RecurrentEncoder(10, rngs=rngs, **options))


def bag(**options):
    return from_nnx(lambda rngs: BagOfEmbeddings(10, width=3, rngs=rngs, **options))


def features(network, tokens, params):
    return jax.jit(lambda p, x: network.apply(p, {}, x, train=False)[0])(params, tokens)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(params, tokens, cell, readout):
    """One text at a time, one word at a time, padding cut off."""
    table, kernel = params["embedding"]["embedding"], params["gates"]["kernel"]
    bias, recurrent = params["gates"]["bias"], params["recurrent"]
    result = np.zeros((len(tokens), recurrent.shape[0]))
    for row, text in enumerate(tokens):
        h = c = np.zeros(recurrent.shape[0])
        states = []
        for token in text[text != 0]:
            gates, carried = table[token] @ kernel + bias, h @ recurrent
            if cell == "gru":
                (r, z, n), (ur, uz, un) = np.split(gates, 3), np.split(carried, 3)
                n = np.tanh(n + sigmoid(r + ur) * (un + params["candidate_bias"]))
                h = (1 - sigmoid(z + uz)) * n + sigmoid(z + uz) * h
            else:
                i, f, g, o = np.split(gates + carried, 4)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
            states.append(h)
        if states:
            result[row] = {"last": h, "mean": np.mean(states, 0), "max": np.max(states, 0)}[readout]
    return result


def random_params(network):
    return random_numbers(sizes(network)[0], scale=1.0)


@pytest.mark.parametrize(
    ("cell", "readout"), [("gru", "last"), ("lstm", "mean"), ("gru", "max"), ("lstm", "last")]
)
def test_a_recurrent_encoder_is_its_formula(cell, readout):
    network = recurrent(cell=cell, readout=readout)
    params = random_params(network)
    found = features(network, TOKENS, params)
    double = jax.tree.map(lambda leaf: leaf.astype(np.float64), params)
    np.testing.assert_allclose(found, by_hand(double, TOKENS, cell, readout), rtol=1e-4, atol=1e-5)
    assert (found[3] == 0).all()


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_cells_are_those_of_pytorch(cell):
    torch = pytest.importorskip("torch")
    network = recurrent(cell=cell)
    params = random_params(network)
    theirs = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell](3, 4, batch_first=True)
    assert count(params) - 30 == sum(p.numel() for p in theirs.parameters()) - (
        8 if cell == "gru" else 16  # PyTorch adds two biases where one does the same
    )
    second = np.zeros_like(params["gates"]["bias"])
    if cell == "gru":
        second[8:] = params["candidate_bias"]
    values = (params["gates"]["kernel"].T, params["recurrent"].T, params["gates"]["bias"], second)
    with torch.no_grad():
        for parameter, value in zip(theirs.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value))
        embedded = torch.tensor(params["embedding"]["embedding"][TOKENS[:1]])
        expected = theirs(embedded)[0][:, -1].numpy()
    np.testing.assert_allclose(
        features(network, TOKENS[:1], params), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("readout", ["last", "mean", "max"])
def test_padding_changes_nothing_wherever_it_stands(readout):
    network = recurrent(readout=readout)
    params = random_params(network)
    padded = np.array([[3, 1, 4, 0, 0, 0], [0, 3, 0, 1, 0, 4]], np.int32)
    one, two = features(network, padded, params)
    np.testing.assert_allclose(one, two, rtol=1e-6)
    other = dict(params, embedding={"embedding": params["embedding"]["embedding"].copy()})
    other["embedding"]["embedding"][0] = 1e3
    np.testing.assert_array_equal(features(network, padded, other)[0], one)
    gradient = jax.jit(
        jax.grad(lambda p: jnp.square(network.apply(p, {}, padded, train=True)[0]).sum())
    )(params)
    assert np.isfinite(jax.tree.leaves(gradient)[0]).all()
    assert (gradient["embedding"]["embedding"][0] == 0).all()
    assert (gradient["embedding"]["embedding"][3] != 0).any()


def test_a_bag_is_the_mean_of_its_words():
    for size in (0, 4):
        network = bag(features=size)
        params = random_params(network)
        table = params["embedding"]["embedding"].astype(np.float64)
        mean = np.stack([table[t[t != 0]].mean(0) if t.any() else np.zeros(3) for t in TOKENS])
        if size:
            mean = np.maximum(mean @ params["linear"]["kernel"] + params["linear"]["bias"], 0)
        np.testing.assert_allclose(features(network, TOKENS, params), mean, rtol=1e-5, atol=1e-6)
    shuffled = features(network, TOKENS[:1, ::-1], params)
    np.testing.assert_allclose(shuffled, features(network, TOKENS[:1], params), rtol=1e-5)


def test_how_a_recurrent_encoder_starts():
    params, state = recurrent(cell="lstm").init(jax.random.key(0))
    assert state == {} and count(params) == 10 * 3 + (3 + 4 + 1) * 16
    assert params["gates"]["bias"].tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
    for gate in np.split(np.asarray(params["recurrent"]), 4, 1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(4), atol=1e-5)


def test_dropout_is_for_training():
    network = recurrent(dropout=0.5, features=16)
    params = random_params(network)
    apply = jax.jit(lambda key: network.apply(params, {}, TOKENS, train=True, key=key)[0])
    one, two = (apply(jax.random.key(seed)) for seed in (0, 1))
    assert (one[:2] != two[:2]).any() and (one[:2] == 0).any()


@pytest.mark.parametrize("option", [{"cell": "rnn"}, {"readout": "first"}])
def test_options_that_there_are_not(option):
    with pytest.raises(ValueError, match="must be 'gru' or 'lstm'|must be 'last', 'mean' or 'max'"):
        RecurrentEncoder(10, rngs=nnx.Rngs(0), **option)
