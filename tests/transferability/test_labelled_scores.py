"""LEEP, NCE, H-score, LogME and TransRate: each formula once more, in float64, by loops and SciPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special, stats
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import mutual_info_score

from jaxfer.transferability import h_score, ledoit_wolf_shrinkage, leep, logme, nce, trans_rate

CLASSES = 3


def problem(n=24, d=5, seed=0):
    """Features that tell two of three classes apart, with more examples of one than of others."""
    draw = np.random.default_rng(seed)
    labels = draw.choice(CLASSES, n, p=[0.5, 0.3, 0.2])
    labels[:CLASSES] = range(CLASSES)
    features = draw.normal(size=(n, d)) @ draw.normal(size=(d, d)) + 0.5
    features[:, 0] += 2 * (labels == 1)
    return features, labels


def test_leep_is_the_mean_of_its_predictions(x64):
    logits, labels = problem(d=4)
    theta = special.softmax(logits, axis=1)
    expected = 0.0
    for i, y in enumerate(labels):
        inner = 0.0
        for z in range(4):
            inner += theta[labels == y, z].sum() / theta[:, z].sum() * theta[i, z]
        expected += np.log(inner) / len(labels)
    np.testing.assert_allclose(leep(logits, labels), expected, rtol=1e-12)
    # Shared by all of a batch, and the same when traced.
    many = jax.jit(jax.vmap(lambda z: leep(z, labels, classes=CLASSES)))(
        np.stack([logits, 0 * logits])
    )
    counts = np.bincount(labels) / len(labels)
    np.testing.assert_allclose(many, [expected, counts @ np.log(counts)], rtol=1e-12)


def test_nce_is_scikit_learns_information_less_the_entropy(x64):
    draw = np.random.default_rng(1)
    _, labels = problem()
    source = draw.integers(0, 5, len(labels))
    counts = np.bincount(labels) / len(labels)
    expected = mutual_info_score(source, labels) - stats.entropy(counts)
    np.testing.assert_allclose(nce(source, labels), expected, rtol=1e-12)
    # Sure source predictions: LEEP is NCE.
    np.testing.assert_allclose(leep(1e4 * np.eye(5)[source], labels), expected, rtol=1e-10)
    np.testing.assert_allclose(nce(labels, labels), 0, atol=1e-12)


def reference_h_score(features, labels, alpha):
    x = features - features.mean(0)
    means = np.stack([x[labels == y].mean(0) for y in labels])
    covariance, between = x.T @ x / len(x), means.T @ means / len(x)
    d = len(covariance)
    shrunk = (1 - alpha) * covariance + alpha * np.trace(covariance) / d * np.eye(d)
    return (1 - alpha) * np.trace(np.linalg.pinv(shrunk, rcond=1e-10) @ between)


def test_h_score_is_numpys_and_its_shrinkage_scikit_learns(x64):
    features, labels = problem()
    score, info = h_score(features, labels)
    np.testing.assert_allclose(score, reference_h_score(features, labels, 0), rtol=1e-10)
    assert info.shrinkage == 0 and info.rank == 5
    _, alpha = ledoit_wolf(features)
    score, info = h_score(features, labels, shrinkage="ledoit_wolf")
    np.testing.assert_allclose(info.shrinkage, alpha, rtol=1e-10)
    assert 0.01 < alpha < 0.99
    np.testing.assert_allclose(score, reference_h_score(features, labels, alpha), rtol=1e-10)


@pytest.mark.slow
def test_h_score_of_more_features_than_examples(x64):
    features, labels = problem(n=8, d=20)
    score, info = h_score(features, labels)
    np.testing.assert_allclose(score, CLASSES - 1, rtol=1e-8)  # anything can be told apart
    assert info.rank == 7
    shrunk, info = h_score(features, labels, shrinkage="ledoit_wolf")
    expected = reference_h_score(features, labels, float(info.shrinkage))
    np.testing.assert_allclose(shrunk, expected, rtol=1e-9)
    assert shrunk < score
    equal = np.ones((6, 3))
    assert h_score(equal, labels[:6])[0] == 0 and ledoit_wolf_shrinkage(0 * equal) == 0


def negative_evidence(log_precisions, features, target):
    a, b = np.exp(log_precisions)
    covariance = np.eye(len(target)) / b + features @ features.T / a
    return -stats.multivariate_normal(cov=covariance).logpdf(target)


@pytest.mark.parametrize("d", [4, pytest.param(30, marks=pytest.mark.slow)])
def test_logme_is_the_largest_evidence_that_scipy_finds(x64, d):
    features, labels = problem(d=d)
    score, info = logme(features, labels, iterations=1000)
    found = []
    for k in range(CLASSES):
        fits = [
            optimize.minimize(
                negative_evidence, start, args=(features, (labels == k) * 1.0),
                method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000},
            )
            for start in ([0.0, 0.0], [3.0, 1.0])
        ]  # fmt: skip
        best = min(fits, key=lambda fit: fit.fun)
        found.append(-best.fun)
        precisions = np.log([info.prior_precision[k], info.noise_precision[k]])
        # Of what features say nothing, the weights' precision grows without end.
        ends = best.x < 10
        assert ends[1]
        np.testing.assert_allclose(precisions[ends], best.x[ends], atol=1e-3)
        assert info.change[k] < 1e-6 or not ends[0]
    np.testing.assert_allclose(score, np.mean(found) / len(labels), rtol=1e-7)


def test_logme_of_features_that_say_nothing_is_finite():
    labels = np.array([0, 1, 0, 1, 0, 1, 1, 0])
    for features in (np.zeros((8, 2), np.float32), np.ones((8, 2), np.float32)):
        score, info = logme(features, labels)
        assert np.isfinite(score) and all(np.isfinite(part).all() for part in info)
    told_apart = np.eye(2, dtype=np.float32)[labels]
    assert logme(told_apart, labels)[0] > score + 1


def reference_rate(z, eps):
    return 0.5 * np.linalg.slogdet(np.eye(z.shape[1]) + z.T @ z / (len(z) * eps))[1]


@pytest.mark.parametrize("d", [pytest.param(4, marks=pytest.mark.slow), 40])
def test_trans_rate_is_the_difference_of_coding_rates(x64, d):
    features, labels = problem(d=d)
    z = features - features.mean(0)
    expected = reference_rate(z, 0.1)
    for k in range(CLASSES):
        part = z[labels == k]
        expected -= len(part) / len(z) * reference_rate(part, 0.1)
    found = trans_rate(features, labels, distortion=0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert found > 0


SCORES = {
    "leep": leep,
    "shrunk": lambda *a, **k: h_score(*a, shrinkage="ledoit_wolf", **k)[0],
    "logme": lambda *a, **k: logme(*a, iterations=20, **k)[0],
    "trans_rate": trans_rate,
}


@pytest.mark.parametrize(
    "name",
    ["shrunk", *(pytest.param(n, marks=pytest.mark.slow) for n in ("leep", "logme", "trans_rate"))],
)
def test_they_can_be_vmapped_over_candidates_and_differentiated(name, x64):
    features, labels = problem()
    score = partial(SCORES[name], classes=CLASSES)
    both = np.stack([features, features[:, ::-1] ** 3])
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(score), in_axes=(0, None)))(
        both, jnp.asarray(labels)
    )
    assert np.isfinite(gradients).all()
    order = np.random.default_rng(2).permutation(len(labels))
    np.testing.assert_allclose(values[0], score(features[order], labels[order]), rtol=1e-8)


def test_mistakes_are_refused():
    features, labels = problem()
    with pytest.raises(TypeError, match="features must be of floating point"):
        h_score(features.astype(int), labels)
    with pytest.raises(TypeError, match="labels must be integers; they are float"):
        logme(features, labels.astype(np.float32))
    with pytest.raises(ValueError, match="labels must hold one class for each of 24"):
        trans_rate(features, labels[:3])
    with pytest.raises(ValueError, match="labels must be from 0 to 1; they go from 0 to 2"):
        leep(features, labels, classes=2)
    with pytest.raises(ValueError, match="labels are traced: say how many classes"):
        jax.jit(leep)(features, labels)
    with pytest.raises(ValueError, match="shrinkage must be a finite number"):
        h_score(features, labels, shrinkage=1.5)
