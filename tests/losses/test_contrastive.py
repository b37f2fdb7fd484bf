"""Contrastive, triplet and supervised contrastive loss against loops in NumPy, and their contract."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer import losses

from ..divergences import checks
from .contracts import assert_batch_coupled, assert_one_sample_mistakes_are_refused, whole

contrastive = whole(losses.contrastive)
triplet = whole(losses.triplet)
supervised_contrastive = whole(losses.supervised_contrastive)
LABELS = np.array([0, 1, 0, 2, 1, 0, 1], np.int32)


def features():
    return checks.two(n=7, d=3)[0]


def norms(f):
    return np.linalg.norm(f[:, None] - f[None], axis=-1)


def mean(values):
    return np.average([v for v, _ in values], weights=[w for _, w in values])


def contrastive_by_numpy(f, w, margin):
    d, n = norms(f), range(len(f))
    same = [(d[i, j] ** 2, w[i] * w[j]) for i in n for j in n if i != j and LABELS[i] == LABELS[j]]
    other = [
        (max(0, margin - d[i, j]) ** 2, w[i] * w[j]) for i in n for j in n if LABELS[i] != LABELS[j]
    ]
    return (mean(same) + mean(other)) / 4


def triplets(f, w, margin, hard):
    d, n, values = norms(f), range(len(f)), []
    for i in n:
        same = [j for j in n if j != i and LABELS[j] == LABELS[i]]
        other = [j for j in n if LABELS[j] != LABELS[i]]
        if hard and same:
            worst = max(d[i, j] for j in same) - min(d[i, j] for j in other)
            values.append((max(0, margin + worst), w[i]))
        if not hard:
            values += [
                (max(0, margin + d[i, p] - d[i, q]), w[i] * w[p] * w[q])
                for p in same
                for q in other
            ]
    return mean(values)


def supervised_by_numpy(f, w, temperature):
    z = f / np.linalg.norm(f, axis=1, keepdims=True)
    n, values = range(len(f)), []
    for i in n:
        same = [j for j in n if j != i and LABELS[j] == LABELS[i]]
        logits = z @ z[i] / temperature
        below = sum(w[a] / w.mean() * np.exp(logits[a]) for a in n if a != i)
        if same:
            values.append((mean([(-logits[p] + np.log(below), w[p]) for p in same]), w[i]))
    return mean(values)


@pytest.mark.parametrize("weigh", [False, True])
def test_values_are_those_of_loops(weigh, x64):
    f, w = features(), checks.weights(1, 7) if weigh else np.ones(7)
    given = {"weights": w} if weigh else {}
    found = contrastive(f, LABELS, margin=2.0, **given)
    np.testing.assert_allclose(found, contrastive_by_numpy(f, w, 2.0), rtol=1e-9)
    for mining in ("hard", "all"):
        found = triplet(f, LABELS, margin=0.4, mining=mining, **given)
        np.testing.assert_allclose(found, triplets(f, w, 0.4, mining == "hard"), rtol=1e-9)
    found = supervised_contrastive(f, LABELS, temperature=0.5, **given)
    np.testing.assert_allclose(found, supervised_by_numpy(f, w, 0.5), rtol=1e-9)


def test_hard_triplets_are_pytorchs(x64):
    torch = pytest.importorskip("torch")
    f = features()[[0, 2, 1]]  # one triplet: its two anchors
    anchor, positive, negative = (torch.tensor(row[None]) for row in f)
    reference = torch.nn.TripletMarginLoss(margin=0.4, eps=0)
    expected = (reference(anchor, positive, negative) + reference(positive, anchor, negative)) / 2
    found = triplet(f, np.array([0, 0, 1], np.int32), margin=0.4)
    np.testing.assert_allclose(found, float(expected), rtol=1e-9)


def of_features(loss, **options):
    """Labels that the contract's other orders leave alone: those of the points' own signs."""

    def f(x, weights=None, axis_name=None):
        labels = (x[:, 0] > 0).astype(jnp.int32)
        return loss(x, labels, weights=weights, axis_name=axis_name, **options)

    return f


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(of_features(losses.contrastive, margin=2.0), id="contrastive"),
        pytest.param(of_features(losses.triplet, margin=1.5), id="hard triplets"),
        pytest.param(
            of_features(losses.triplet, margin=1.5, mining="all"),
            id="all triplets",
            marks=pytest.mark.slow,
        ),
        pytest.param(of_features(losses.supervised_contrastive), id="supervised contrastive"),
    ],
)
def test_contract(loss, x64):
    assert_batch_coupled(loss, repeat=False)


def test_a_batch_that_holds_no_pair_or_no_other_class():
    f = features().astype(np.float32)
    ones, each = np.zeros(7, np.int32), np.arange(7, dtype=np.int32)
    assert triplet(f, ones) == triplet(f, each) == supervised_contrastive(f, each) == 0
    together = contrastive(f, ones)
    np.testing.assert_allclose(together, np.square(norms(f)).sum() / 42 / 4, rtol=1e-5)
    gradient = jax.grad(lambda f: losses.supervised_contrastive(f, each))(f)
    assert np.isfinite(gradient).all()


def test_what_cannot_be():
    f = features().astype(np.float32)
    for loss in (losses.contrastive, losses.triplet, losses.supervised_contrastive):
        assert_one_sample_mistakes_are_refused(partial(loss, labels=LABELS), "features")
        with pytest.raises(TypeError, match="labels must be integers; they are float32"):
            loss(f, LABELS.astype(np.float32))
        with pytest.raises(ValueError, match="labels must hold one class for each of the 7"):
            loss(f, LABELS[:3])
    with pytest.raises(ValueError, match="margin must be a finite number above 0"):
        losses.contrastive(f, LABELS, margin=0.0)
    with pytest.raises(ValueError, match="margin must be a finite number of at least 0"):
        losses.triplet(f, LABELS, margin=-1.0)
    with pytest.raises(ValueError, match="mining must be 'hard' or 'all'; got 'semi-hard'"):
        losses.triplet(f, LABELS, mining="semi-hard")
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        losses.supervised_contrastive(f, LABELS, temperature=0.0)
