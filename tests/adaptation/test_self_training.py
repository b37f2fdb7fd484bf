"""Teachers, pseudo-labels, memories and phases, against what defines them, in NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer import adaptation
from jaxfer.adaptation import shot as make_shot
from jaxfer.adaptation.tent import normalisation
from jaxfer.adaptation.toy import toy_batch, toy_classifier
from jaxfer.adapters import linear_feature_map

from . import problems
from .problems import equal, quickly

KEY = jax.random.key(0)


def softmax(z):
    p = np.exp(np.asarray(z, float))
    return p / p.sum(axis=1, keepdims=True)


def logits(params, x):
    """Of the toy's classifier."""
    features = np.asarray(x, float) @ params["encoder"]["weight"] + params["encoder"]["bias"]
    return features @ params["head"]["weight"] + params["head"]["bias"]


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_a_teacher_is_the_average_of_its_student():
    method = adaptation.mean_teacher(toy_classifier(), augment=lambda key, x: x, decay=0.7)
    students = [drawn(seed, 3) for seed in range(6)]
    params = {"encoder": students[0], "head": 2 * students[0]}
    params["teacher"] = jax.tree.map(lambda x: x + 7, params)
    expected = None
    for step, student in enumerate(students):
        params = {**params, "encoder": student, "head": 2 * student}
        params, _ = method.settle(params, {}, step)
        decay = min(0.7, 1 - 1 / (step + 1))
        expected = student if step == 0 else decay * expected + (1 - decay) * student
        np.testing.assert_allclose(params["teacher"]["encoder"], expected, rtol=1e-6)
        np.testing.assert_allclose(params["teacher"]["head"], 2 * expected, rtol=1e-6)
        np.testing.assert_array_equal(params["encoder"], student)


def test_a_student_learns_from_a_teacher_who_is_sure():
    make = partial(
        adaptation.mean_teacher,
        toy_classifier(),
        augment=lambda key, x: x,
        strength=lambda step: 2.0,
    )
    method, batch = make(), toy_batch(8)
    params, state = method.init(KEY)
    params["teacher"] = jax.tree.map(lambda x: 2 * x + 0.3, params["teacher"])
    teacher = softmax(logits(params["teacher"], batch.target))
    student = softmax(logits(params, batch.target))
    threshold = np.median(teacher.max(axis=1))
    method = make(threshold=threshold)
    compute = quickly(lambda params: method.players[0].loss(params, state, batch, step=1, key=KEY))
    loss, (_, metrics) = compute(params)
    sure = teacher.max(axis=1) >= threshold
    assert sure.sum() == 4
    expected = (((student - teacher) ** 2).sum(axis=1) * sure).mean()
    np.testing.assert_allclose(metrics["term"], expected, rtol=1e-4)
    np.testing.assert_allclose(loss, metrics["source_loss"] + 2 * expected, rtol=1e-5)
    predicted = method.predict(params, state, batch.target).logits
    np.testing.assert_allclose(softmax(predicted), teacher, rtol=1e-5)


def test_what_is_strongly_changed_learns_from_what_is_weakly_changed():
    batch = toy_batch(8)
    params, state = adaptation.init_classifier(toy_classifier(), KEY)
    sure, changed = (softmax(logits(params, x)) for x in (batch.target + 1, 3 * batch.target))
    threshold = np.median(sure.max(axis=1))
    kept = sure.max(axis=1) >= threshold
    assert kept.sum() == 4
    method = adaptation.fixmatch(
        toy_classifier(),
        weak=lambda key, x: x + 1,
        strong=lambda key, x: 3 * x,
        threshold=threshold,
    )
    _, (_, metrics) = quickly(
        lambda params: method.players[0].loss(params, state, batch, step=0, key=KEY)
    )(params)
    own = -np.log(changed[np.arange(8), sure.argmax(axis=1)]) * kept
    np.testing.assert_allclose(metrics["term"], own.mean(), rtol=1e-4)
    source = softmax(logits(params, batch.source.x + 1))[np.arange(8), batch.source.y]
    np.testing.assert_allclose(metrics["source_loss"], -np.log(source).mean(), rtol=1e-4)


@pytest.mark.parametrize("momentum", [pytest.param(0.0, marks=pytest.mark.thorough), 0.9])
def test_pseudo_labels_are_of_the_nearest_centroid(momentum):
    """Two rounds, as published; with a momentum the centroids begin with what was before."""
    network = toy_classifier(classes=3)
    method = make_shot(network, features=3, classes=3, momentum=momentum)
    batch = toy_batch(10)
    params, state = method.init(KEY)
    before = [drawn(seed, 3, 4) for seed in (1, 2)]
    state = state._replace(memory=type(state.memory)(*before))
    loss, (after, metrics) = quickly(
        lambda params, state: method.players[0].loss(params, state, batch, step=0, key=KEY)
    )(params, state)

    seen = adaptation.predict(network, params, {}, batch.target)
    p = softmax(seen.logits)
    rows = np.concatenate([seen.features, np.ones((10, 1))], axis=1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)

    def centroids(old, weights):
        return momentum * old + (1 - momentum) * weights.T @ rows / 10

    def nearest(c):
        with np.errstate(invalid="ignore"):
            cosines = rows @ (c / np.linalg.norm(c, axis=1, keepdims=True)).T
        return np.where(np.isnan(cosines), -np.inf, cosines).argmax(axis=1)

    soft = centroids(before[0], p)
    hard = centroids(before[1], np.eye(3)[nearest(soft)])
    labels = nearest(hard)
    np.testing.assert_allclose(after.memory.soft, soft, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(after.memory.hard, hard, rtol=1e-4, atol=1e-6)
    sure = -(p * np.log(p)).sum(axis=1).mean()
    diverse = -(p.mean(axis=0) * np.log(p.mean(axis=0))).sum()
    expected = sure - diverse - 0.3 * np.log(p[np.arange(10), labels]).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["agreement"], (labels == p.argmax(axis=1)).mean())


def test_classes_that_the_target_lacks_count_for_little():
    adversary = linear_feature_map(3, 1)
    method = adaptation.pada(toy_classifier(), adversary=adversary, classes=2, momentum=0.6)
    batch = toy_batch(8)
    params, state = method.init(KEY)
    state = state._replace(memory=jnp.array([0.9, 0.1]))
    loss, (after, metrics) = quickly(
        lambda params, state: method.players[0].loss(params, state, batch, step=0, key=KEY)
    )(params, state)
    source, target = (
        adaptation.predict(toy_classifier(), params, {}, x) for x in (batch.source.x, batch.target)
    )
    mean = 0.6 * np.array([0.9, 0.1]) + 0.4 * softmax(target.logits).mean(axis=0)
    np.testing.assert_allclose(after.memory, mean, rtol=1e-5)
    w = (mean / mean.max())[batch.source.y]
    w /= w.sum()
    own = -np.log(softmax(source.logits)[np.arange(8), batch.source.y]) @ w
    u, v = (np.asarray(adversary.apply(params["adversary"], s.features)) for s in (source, target))
    adversarial = 0.5 * (w @ np.log1p(np.exp(-u[:, 0])) + np.log1p(np.exp(v)).mean())
    np.testing.assert_allclose(loss, own + adversarial, rtol=1e-4)
    np.testing.assert_allclose(metrics["kept_classes"], (mean / mean.max()).sum(), rtol=1e-5)


def test_adda_has_two_phases():
    """The target's encoder is the source's until the warm-up ends; then the source's stays."""
    network = problems.classifier(batch_norm=True)
    method = adaptation.adda(network, adversary=linear_feature_map(8, 1), warm_up=2)
    optimiser, batch = optax.adam(0.01), problems.batch()
    params, state = method.init(KEY)
    opt_state = adaptation.init_optimiser(method, optimiser, params)
    step_once = quickly(
        lambda carry, step: adaptation.update(method, optimiser, *carry, batch, step=step, key=KEY)[
            :3
        ]
    )
    before = params, state
    for step in range(4):
        after_params, after_state, opt_state = step_once((*before, opt_state), step)
        moved = {name for name in params if not equal(after_params[name], before[0][name])}
        if step < 2:
            assert moved == {"encoder", "source_encoder", "head"}
            assert equal(after_params["encoder"], after_params["source_encoder"])
            assert equal(after_state.target, after_state.source)
        else:
            assert moved == {"encoder", "adversary"}
            assert equal(after_state.source, before[1].source)
            assert not equal(after_state.target, before[1].target)
        before = after_params, after_state


@pytest.mark.parametrize("statistics", ["joint", "per_domain", "frozen"])
def test_source_only_does_not_look_at_the_target(statistics):
    network = problems.classifier(batch_norm=True)._replace(statistics=statistics)
    method = adaptation.source_only(network)
    params, state = method.init(KEY)
    loss = quickly(lambda batch: method.players[0].loss(params, state, batch, step=0, key=KEY))
    batch = problems.batch(12, 8, labelled=4)
    found = loss(batch)
    assert equal(found, loss(batch._replace(target=batch.target + 5)))
    seen = jnp.concatenate([batch.source.x, batch.labelled_target.x])
    hidden = network.encoder.network.apply(params["encoder"]["dense"], seen)
    mean = 0 if statistics == "frozen" else 0.1 * hidden.mean(0)
    np.testing.assert_allclose(found[1][0]["mean"], mean, rtol=1e-5, atol=1e-6)


def test_adabn_predicts_with_the_targets_statistics():
    network = problems.classifier(batch_norm=True)
    method = adaptation.adabn(network)
    batch = problems.batch()
    params, state = method.init(KEY)
    _, (state, _) = quickly(
        lambda params: method.players[0].loss(params, state, batch, step=0, key=KEY)
    )(params)
    hidden = network.encoder.network.apply(params["encoder"]["dense"], batch.target)
    np.testing.assert_allclose(state.target["mean"], 0.1 * hidden.mean(0), rtol=1e-5, atol=1e-6)
    found = method.predict(params, state, batch.target).features
    unit = (hidden - state.target["mean"]) / np.sqrt(state.target["variance"] + 1e-5)
    np.testing.assert_allclose(found, np.tanh(unit), rtol=1e-4, atol=1e-5)


def test_tent_needs_a_normalisation():
    method = adaptation.tent(toy_classifier())
    params, _ = method.init(KEY)
    with pytest.raises(ValueError, match="no normalisation layer"):
        adaptation.init_optimiser(method, optax.sgd(0.1), params)
    params, _ = adaptation.init_classifier(problems.classifier(batch_norm=True), KEY)
    mask = normalisation(params)
    assert mask["head"] is False and mask["encoder"] == {"dense": False, "norm": True}


def test_weak_changes_move_an_image_by_whole_pixels():
    images = jnp.asarray(drawn(0, 5, 10, 20, 2))
    moved = np.asarray(quickly(partial(adaptation.weak_augmentation, shift=0.1))(KEY, images))
    seen = set()
    for before, after in zip(np.asarray(images), moved, strict=True):
        padded = np.pad(before, ((1, 1), (2, 2), (0, 0)), mode="edge")
        places = [
            (i, j)
            for i in range(3)
            for j in range(5)
            if (padded[i : i + 10, j : j + 20] == after).all()
        ]
        assert len(places) == 1
        seen |= set(places)
    assert len(seen) > 1
    tokens = {"ids": jnp.arange(6).reshape(2, 3), "values": jnp.ones((2, 3))}
    assert equal(adaptation.weak_augmentation(KEY, tokens), tokens)


def test_strong_changes_cut_images_and_blur_rows():
    images = 5 + jnp.asarray(drawn(0, 6, 12, 12, 1))
    change = quickly(partial(adaptation.strong_augmentation, shift=0.0, cut=0.5))
    changed = np.asarray(change(KEY, images))
    means = np.asarray(images).mean(axis=(1, 2, 3))
    cut = np.isclose(changed, means[:, None, None, None], atol=1e-5)
    assert (cut.sum(axis=(1, 2, 3)) >= 9).all() and (cut.sum(axis=(1, 2, 3)) <= 40).all()
    rows = {"ids": jnp.arange(800).reshape(400, 2), "values": jnp.asarray(3 * drawn(1, 400, 2))}
    noisy = quickly(partial(adaptation.strong_augmentation, noise=0.5))(KEY, rows)
    assert equal(noisy["ids"], rows["ids"])
    np.testing.assert_allclose((noisy["values"] - rows["values"]).std(), 1.5, rtol=0.1)
