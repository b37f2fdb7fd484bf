"""Full-context embeddings against PyTorch; conditional neural processes; reading a sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import meta
from jaxfer.typing import LabelledBatch

FEATURES = 3


def to_torch(torch, params, lstm, suffix):
    weight = np.asarray(params["weight"]).T
    inputs = weight.shape[1] - FEATURES
    with torch.no_grad():
        getattr(lstm, f"weight_ih_l0{suffix}").copy_(torch.tensor(weight[:, :inputs]))
        getattr(lstm, f"weight_hh_l0{suffix}").copy_(torch.tensor(weight[:, inputs:]))
        getattr(lstm, f"bias_ih_l0{suffix}").copy_(torch.tensor(np.asarray(params["bias"])))
        getattr(lstm, f"bias_hh_l0{suffix}").zero_()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_full_context_is_pytorchs_lstm_and_a_loop_of_looks(x64):
    torch = pytest.importorskip("torch")
    draw = np.random.default_rng(0)
    support, query = draw.normal(size=(4, FEATURES)), draw.normal(size=(2, FEATURES))
    context = meta.full_context(FEATURES, steps=2)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), context.init(jax.random.key(0)))
    shown, asked = context.apply(params, support, query)

    lstm = torch.nn.LSTM(FEATURES, FEATURES, bidirectional=True, dtype=torch.float64)
    to_torch(torch, params["forward"], lstm, "")
    to_torch(torch, params["backward"], lstm, "_reverse")
    with torch.no_grad():
        both = lstm(torch.tensor(support))[0].numpy()
    expected = support + both[:, :FEATURES] + both[:, FEATURES:]
    np.testing.assert_allclose(shown, expected, rtol=1e-6)

    weight, bias = (np.asarray(params["query"][name]) for name in ("weight", "bias"))
    for q, found in zip(query, asked, strict=True):
        hidden, readout, cell = np.zeros(FEATURES), np.zeros(FEATURES), np.zeros(FEATURES)
        for _ in range(2):
            gates = np.concatenate([q, hidden, readout]) @ weight + bias
            enter, forget, new, leave = np.split(gates, 4)
            cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
            hidden = sigmoid(leave) * np.tanh(cell) + q
            attention = np.exp(expected @ hidden)
            readout = attention / attention.sum() @ expected
        np.testing.assert_allclose(found, hidden, rtol=1e-6)


def test_full_context_errors():
    with pytest.raises(ValueError, match="features must be an integer of at least 1"):
        meta.full_context(0)
    context = meta.full_context(FEATURES)
    with pytest.raises(ValueError, match=r"query must be an array \[n, 3\]"):
        context.apply(context.init(jax.random.key(0)), jnp.ones((4, 3)), jnp.ones((2, 2)))


def encode(params, pairs):
    return jnp.tanh(pairs @ params["encode"])


def decode(params, both):
    return jnp.tanh(both) @ params["decode"]


def test_a_neural_process_sees_a_set_of_any_size(x64):
    draw = np.random.default_rng(0)
    params = {"encode": draw.normal(size=(2, 4)), "decode": draw.normal(size=(5, 2))}
    answer = meta.neural_process(encode, decode)
    x, y, query = (draw.normal(size=(n, 1)) for n in (6, 6, 3))
    found, state = answer(params, {}, LabelledBatch(x, y), jnp.asarray(query), train=True)
    summary = np.tanh(np.concatenate([x, y], -1) @ params["encode"]).mean(0)
    both = np.concatenate([query, np.tile(summary, (3, 1))], -1)
    np.testing.assert_allclose(found, np.tanh(both) @ params["decode"], rtol=1e-9)
    assert state == {}
    order = draw.permutation(6)
    again, _ = answer(params, {}, LabelledBatch(x[order], y[order]), jnp.asarray(query), train=True)
    np.testing.assert_allclose(again, found, rtol=1e-9)
    twice = LabelledBatch(np.tile(x, (2, 1)), np.tile(y, (2, 1)))
    np.testing.assert_allclose(
        answer(params, {}, twice, jnp.asarray(query), train=True)[0], found, rtol=1e-9
    )


def test_gaussian_loss_is_scipys(x64):
    stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(0)
    outputs, targets = draw.normal(size=(5, 4)), draw.normal(size=(5, 2))
    loss, metrics = meta.gaussian_loss(jnp.asarray(outputs), jnp.asarray(targets))
    deviation = 0.1 + 0.9 * np.log1p(np.exp(outputs[:, 2:]))
    expected = -stats.norm(outputs[:, :2], deviation).logpdf(targets).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-9)
    np.testing.assert_allclose(metrics["mse"], np.mean((outputs[:, :2] - targets) ** 2))
    with pytest.raises(ValueError, match=r"outputs must be \[m, 2 \* outputs\]"):
        meta.gaussian_loss(jnp.ones((5, 2)), jnp.ones((5, 2)))


def same(params, state, x, *, train, key=None):
    return x, state


def whole(params, state, sequence, *, train, key=None):
    """A reader that says at each step all that it has read, summed with weights by place."""
    weights = 10.0 ** -jnp.arange(sequence.shape[1])
    return jnp.cumsum(sequence * weights[:, None], axis=1), state


def test_a_sequence_is_the_support_with_its_labels_and_then_each_query():
    answer = meta.answer_by_sequence(same, whole, classes=2)
    support = LabelledBatch(jnp.array([[1.0], [2.0]]), jnp.array([1, 0]))
    found, _ = answer({}, {}, support, jnp.array([[5.0], [7.0]]), train=False)
    np.testing.assert_allclose(found, [[1.25, 0.1, 1.0], [1.27, 0.1, 1.0]], rtol=1e-6)


def test_with_a_key_the_support_set_is_read_in_other_orders_each_with_its_labels():
    answer = meta.answer_by_sequence(same, whole)
    support = LabelledBatch(jnp.array([[1.0], [2.0], [3.0]]), jnp.array([[1.0], [2.0], [3.0]]))
    orders = set()
    for seed in range(8):
        found, _ = answer({}, {}, support, jnp.array([[0.0]]), train=True, key=jax.random.key(seed))
        np.testing.assert_allclose(found[0, 0], found[0, 1], rtol=1e-6)
        orders.add(round(float(found[0, 0]), 4))
    assert len(orders) > 2 and orders <= {1.23, 1.32, 2.13, 2.31, 3.12, 3.21}
