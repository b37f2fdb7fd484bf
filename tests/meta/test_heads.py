"""Heads against scikit-learn and NumPy, and what every head holds whatever it computes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from jaxfer import meta

CLASSES, FEATURES = 3, 4
MEAN = np.array([0.3, -0.2, 0.1, 0.5])
DECODE = np.random.default_rng(9).normal(size=((1 + CLASSES) * FEATURES, CLASSES))


def score(pairs):
    """A relation network of one hidden layer, its weights drawn once."""
    draw = np.random.default_rng(5).normal
    return jnp.tanh(pairs @ draw(size=(2 * FEATURES, 3))) @ draw(size=3)


HEADS = {
    "centroid": meta.nearest_centroid,
    "centroid-cosine": partial(meta.nearest_centroid, distance="cosine", scale=7.0),
    "simple-shot": partial(meta.simple_shot, mean=MEAN),
    "matching": partial(meta.matching, scale=3.0),
    "matching-l2": partial(meta.matching, similarity="l2"),
    "nearest-neighbour": meta.nearest_neighbour,
    "ridge": partial(meta.ridge, strength=0.3, scale=2.0, shift=0.1),
    "linear-probe": partial(meta.linear_probe, strength=0.05),
    "relation": partial(meta.relation, score=score),
}
every_head = pytest.mark.parametrize("name", HEADS)


def compiled(head):
    return jax.jit(
        partial(head, classes=CLASSES), compiler_options={"xla_backend_optimization_level": 0}
    )


def episode(seed=0, shots=(3, 2, 4), queries=5):
    """Classes that overlap, of different sizes, in no order."""
    draw = np.random.default_rng(seed)
    labels = draw.permutation(np.repeat(np.arange(CLASSES), shots)).astype(np.int32)
    support = draw.normal(size=(len(labels), FEATURES)) + 0.7 * labels[:, None]
    return support, labels, draw.normal(size=(queries, FEATURES)) + 0.7


def test_nearest_centroid_is_scikit_learns(x64):
    support, labels, query = episode()
    reference = NearestCentroid().fit(support, labels)
    logits = meta.nearest_centroid(support, labels, query, classes=CLASSES)
    np.testing.assert_array_equal(np.argmax(logits, -1), reference.predict(query))
    expected = np.square(query[:, None] - reference.centroids_).sum(-1)
    np.testing.assert_allclose(logits, -expected, rtol=1e-10)
    half = meta.nearest_centroid(support, labels, query, classes=CLASSES, scale=0.5)
    np.testing.assert_allclose(half, -0.5 * expected, rtol=1e-10)


def test_cosine_to_a_centroid(x64):
    support, labels, query = episode()
    means = np.stack([support[labels == k].mean(0) for k in range(CLASSES)])
    expected = (
        query @ means.T / np.outer(np.linalg.norm(query, axis=1), np.linalg.norm(means, axis=1))
    )
    logits = meta.nearest_centroid(
        support, labels, query, classes=CLASSES, distance="cosine", scale=3.0
    )
    np.testing.assert_allclose(logits, 3 * expected, rtol=1e-10)


def test_simple_shot_centres_and_normalises_before_the_means(x64):
    support, labels, query = episode()

    def prepared(x):
        return (x - MEAN) / np.linalg.norm(x - MEAN, axis=1, keepdims=True)

    reference = NearestCentroid().fit(prepared(support), labels)
    logits = meta.simple_shot(support, labels, query, classes=CLASSES, mean=MEAN)
    expected = np.square(prepared(query)[:, None] - reference.centroids_).sum(-1)
    np.testing.assert_allclose(logits, -expected, rtol=1e-10)


@pytest.mark.parametrize("similarity", ["cosine", "l2"])
def test_matching_is_a_vote_by_attention(similarity, x64):
    support, labels, query = episode()
    expected = np.zeros((len(query), CLASSES))
    for j, q in enumerate(query):
        votes = [
            q @ s / np.linalg.norm(q) / np.linalg.norm(s)
            if similarity == "cosine"
            else -np.sum((q - s) ** 2)
            for s in support
        ]
        weights = np.exp(1.5 * np.array(votes))
        for label, weight in zip(labels, weights / weights.sum(), strict=True):
            expected[j, label] += weight
    logits = meta.matching(
        support, labels, query, classes=CLASSES, similarity=similarity, scale=1.5
    )
    np.testing.assert_allclose(np.exp(logits), expected, rtol=1e-10)


def test_nearest_neighbour_is_scikit_learns(x64):
    support, labels, query = episode(queries=20)
    reference = KNeighborsClassifier(1).fit(support, labels)
    logits = meta.nearest_neighbour(support, labels, query, classes=CLASSES)
    np.testing.assert_array_equal(np.argmax(logits, -1), reference.predict(query))
    np.testing.assert_allclose(
        np.sqrt(-np.max(logits, -1)), reference.kneighbors(query)[0][:, 0], rtol=1e-8
    )


@pytest.mark.parametrize("shots", [(1, 1, 1), (3, 2, 4)], ids=["fewer", "more"])
def test_ridge_is_scikit_learns_with_fewer_and_more_examples_than_features(shots, x64):
    support, labels, query = episode(shots=shots)
    reference = Ridge(alpha=0.3, fit_intercept=False).fit(support, np.eye(CLASSES)[labels])
    logits = meta.ridge(support, labels, query, classes=CLASSES, strength=0.3, scale=2.0, shift=0.1)
    np.testing.assert_allclose(logits, 2 * reference.predict(query) + 0.1, rtol=1e-8)


@pytest.mark.parametrize("stretch", [1.0, 100.0])
def test_linear_probe_is_scikit_learns_at_any_scale_of_the_features(stretch, x64):
    support, labels, query = episode()
    support, query = stretch * support, stretch * query
    strength = 0.05 * stretch**2  # the same problem in other units
    reference = LogisticRegression(C=1 / (len(labels) * strength), tol=1e-10, max_iter=10_000)
    reference.fit(support, labels)
    logits = np.asarray(
        meta.linear_probe(support, labels, query, classes=CLASSES, strength=strength)
    )
    expected = reference.predict_log_proba(query)
    found = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_relation_pairs_are_sums_beside_queries(x64):
    support, labels, query = episode()
    sums = np.stack([support[labels == k].sum(0) for k in range(CLASSES)])
    pairs = meta.relation_pairs(support, labels, query, classes=CLASSES)
    np.testing.assert_allclose(pairs[1 * CLASSES + 2], np.r_[sums[2], query[1]], rtol=1e-12)
    maps = np.random.default_rng(0).normal(size=(9, 2, 2, FEATURES))
    asked = meta.relation_pairs(maps, labels, maps[:5], classes=CLASSES)
    assert asked.shape == (15, 2, 2, 2 * FEATURES)


def test_relation_judges_each_query_beside_the_sum_of_each_class(x64):
    support, labels, query = episode()
    draw = np.random.default_rng(5).normal  # the weights of score, drawn again
    hidden, out = draw(size=(2 * FEATURES, 3)), draw(size=3)
    sums = [support[labels == k].sum(0) for k in range(CLASSES)]
    expected = [[np.tanh(np.r_[each, q] @ hidden) @ out for each in sums] for q in query]
    logits = meta.relation(support, labels, query, classes=CLASSES, score=score)
    np.testing.assert_allclose(logits, expected, rtol=1e-10)


def test_relation_loss_is_the_squared_error_of_the_sigmoid(x64):
    logits, labels = np.random.default_rng(0).normal(size=(6, CLASSES)), np.arange(6) % CLASSES
    loss, metrics = meta.relation_loss(logits, labels)
    expected = np.mean((1 / (1 + np.exp(-logits)) - np.eye(CLASSES)[labels]) ** 2)
    np.testing.assert_allclose(loss, expected, rtol=1e-10)
    assert metrics["accuracy"] == pytest.approx(np.mean(logits.argmax(-1) == labels), abs=1e-6)


def test_class_summaries_lie_in_the_order_of_the_classes(x64):
    support, labels, query = episode()
    means = np.stack([support[labels == k].mean(0) for k in range(CLASSES)]).reshape(-1)
    logits = meta.class_summaries(
        support, labels, query, classes=CLASSES, decode=lambda both: both @ DECODE
    )
    both = np.concatenate([query, np.tile(means, (len(query), 1))], -1)
    np.testing.assert_allclose(logits, both @ DECODE, rtol=1e-10)


def test_summaries_and_prototypes_know_no_order_and_follow_the_names_of_classes(x64):
    support, labels, query = episode()
    order = np.random.default_rng(1).permutation(len(support))
    names = np.array([2, 0, 1])

    def blocks(support, labels):
        """What the decoder is given: a query, and a block for each class."""
        both = meta.class_summaries(support, labels, query, classes=CLASSES, decode=lambda x: x)
        return both.reshape(len(query), 1 + CLASSES, FEATURES)

    found = blocks(support, labels)
    np.testing.assert_allclose(blocks(support[order], labels[order]), found, rtol=1e-12)
    renamed = blocks(support, names[labels])
    np.testing.assert_allclose(renamed[:, 1 + names], found[:, 1:], rtol=1e-12)
    np.testing.assert_array_equal(renamed[:, 0], query)

    head = partial(meta.prototype_head, classes=CLASSES)
    kernel, bias = head(support, labels)
    for mixed, there in zip(head(support[order], labels[order]), (kernel, bias), strict=True):
        np.testing.assert_allclose(mixed, there, rtol=1e-12)
    for renamed, there in zip(head(support, names[labels]), (kernel, bias), strict=True):
        np.testing.assert_allclose(renamed[..., names], there, rtol=1e-12)


def test_the_head_of_prototypes_classifies_as_they_do(x64):
    support, labels, query = episode()
    kernel, bias = meta.prototype_head(support, labels, classes=CLASSES)
    distances = meta.nearest_centroid(support, labels, query, classes=CLASSES)
    lengths = np.square(query).sum(-1, keepdims=True)
    np.testing.assert_allclose(query @ kernel + bias - lengths, distances, rtol=1e-9)


@every_head
def test_orders_numbers_of_classes_and_absence(name, x64):
    """One compiled program: other orders, other names, soft labels, and a class without support."""
    support, labels, query = episode()
    draw, one_hot = np.random.default_rng(1), np.eye(CLASSES)[labels]
    head = compiled(HEADS[name])
    logits = head(support, one_hot, query)
    assert logits.shape == (len(query), CLASSES) and logits.dtype == jnp.float64
    order = draw.permutation(len(support))
    again = head(support[order], one_hot[order], query)
    np.testing.assert_allclose(again, logits, rtol=1e-6, atol=1e-9)
    names = np.array([2, 0, 1])
    renamed = head(support, one_hot[:, names], query)
    np.testing.assert_allclose(renamed, logits[:, names], rtol=1e-6, atol=1e-9)
    asked = draw.permutation(len(query))
    np.testing.assert_allclose(head(support, one_hot, query[asked]), logits[asked], rtol=1e-9)
    absent = head(support, one_hot * [1, 1, 0], query)
    assert np.isneginf(absent[:, 2]).all() and np.isfinite(absent[:, :2]).all()


@pytest.mark.parametrize("name", ["centroid", "ridge", "relation"])
def test_integers_are_one_hot_labels_and_half_precision_becomes_float32(name):
    support, labels, query = episode()
    head = partial(HEADS[name], classes=CLASSES)
    shape = jax.eval_shape(head, *(jnp.asarray(x, jnp.bfloat16) for x in (support,)), labels,
                           jnp.asarray(query, jnp.bfloat16))  # fmt: skip
    assert shape.dtype == jnp.float32
    by_integers = head(*map(jnp.asarray, (support, labels, query)))
    by_vectors = head(*map(jnp.asarray, (support, np.eye(CLASSES)[labels], query)))
    np.testing.assert_allclose(by_integers, by_vectors, rtol=1e-5, atol=1e-6)


SMOOTH = [name for name in HEADS if name != "linear-probe"]


@pytest.mark.parametrize("name", SMOOTH)
def test_the_gradient_is_that_of_differences_and_finite_at_zero(name, x64):
    support, labels, query = episode()
    direction = np.random.default_rng(2).normal(size=support.shape)

    def loss(support, query):
        logits = HEADS[name](support, jnp.asarray(labels), query, classes=CLASSES)
        return jnp.sum(jnp.sin(logits))

    both = jax.jit(
        jax.value_and_grad(loss, argnums=(0, 1)),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    _, (gradient, _) = both(support, query)
    up, down = (both(support + e * direction, query)[0] for e in (1e-6, -1e-6))
    np.testing.assert_allclose(np.vdot(gradient, direction), (up - down) / 2e-6, rtol=1e-5)
    support[2], query[1] = 0, 0
    for leaf in both(support, query)[1]:
        assert np.isfinite(leaf).all()


def test_what_cannot_be():
    support, labels, query = map(jnp.asarray, episode())
    head = partial(meta.nearest_centroid, classes=CLASSES)
    with pytest.raises(ValueError, match="class 2 has no support example"):
        head(support[:2], jnp.array([0, 1]), query)
    with pytest.raises(ValueError, match="from 0 to 2"):
        head(support, labels + 1, query)
    with pytest.raises(ValueError, match="same features"):
        head(support, labels, query[:, :2])
    with pytest.raises(ValueError, match=r"Flatten it: x\.reshape"):
        head(support[:, None], labels, query)
    with pytest.raises(ValueError, match="support_labels must be integers"):
        head(support, labels[:3], query)
    with pytest.raises(TypeError, match="support_features must be of floating point"):
        head(support.astype(int), labels, query)
    with pytest.raises(ValueError, match="query_features must be finite"):
        head(support, labels, query.at[0, 0].set(jnp.nan))
    with pytest.raises(ValueError, match="distance must be 'euclidean' or 'cosine'; got 'l1'"):
        head(support, labels, query, distance="l1")
    with pytest.raises(ValueError, match="similarity must be 'cosine' or 'l2'; got 'l1'"):
        meta.matching(support, labels, query, classes=CLASSES, similarity="l1")
    with pytest.raises(ValueError, match="scale must be a finite number above 0"):
        head(support, labels, query, scale=0.0)
    with pytest.raises(ValueError, match="strength must be a finite number above 0"):
        meta.ridge(support, labels, query, classes=CLASSES, strength=-1.0)
    with pytest.raises(ValueError, match="classes must be an integer of at least 2"):
        meta.nearest_centroid(support, labels, query, classes=1)
    with pytest.raises(ValueError, match="mean must hold one number for each of the 4 features"):
        meta.simple_shot(support, labels, query, classes=CLASSES, mean=jnp.zeros(3))
    with pytest.raises(ValueError, match="score must give one number for each of the 15 pairs"):
        meta.relation(support, labels, query, classes=CLASSES, score=lambda pairs: pairs)
