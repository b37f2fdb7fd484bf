"""The guard against scikit-learn's kappa, and on predictors that have collapsed."""

import jax
import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import cohen_kappa_score

from jaxfer.evaluation import reject_collapsed

from . import examples

CLASSES = np.arange(40) % 4


def predictor(classes, wrong=0.0, seed=0):
    draw = np.random.default_rng(seed)
    classes = np.where(
        draw.uniform(size=len(classes)) < wrong, draw.integers(4, size=len(classes)), classes
    )
    return (3 * np.eye(4)[classes] + draw.uniform(size=(len(classes), 4))).astype(np.float32)


def test_its_numbers_are_scikit_learns(x64):
    (logits, _), (others, _) = examples.labelled(), examples.labelled(0, scale=1.0)
    w = examples.weights()
    rejected, info = reject_collapsed(logits, others, weights=w)
    one, other = logits.argmax(-1), others.argmax(-1)
    shares = np.bincount(one, w, minlength=4) / w.sum()
    np.testing.assert_allclose(info.class_shares, shares, rtol=1e-10)
    np.testing.assert_allclose(info.class_entropy, entropy(shares, base=4), rtol=1e-10)
    kappa = cohen_kappa_score(one, other, sample_weight=w)
    np.testing.assert_allclose(info.kappa, kappa, rtol=1e-10)
    np.testing.assert_allclose(info.agreement, np.average(one == other, weights=w), rtol=1e-10)
    assert 0.1 < kappa < 0.9 and rejected.dtype == bool


def test_it_lets_through_what_works_and_rejects_what_has_collapsed():
    source_only = predictor(CLASSES, wrong=0.5)
    cases = {
        "right throughout": (predictor(CLASSES), False),
        "the same": (source_only, False),
        "one class": (predictor(0 * CLASSES), True),
        "two of four classes": (predictor(CLASSES // 2 * 2), True),
        "classes exchanged": (predictor((CLASSES + 1) % 4), True),
        "chance": (predictor(CLASSES, wrong=1.0, seed=3), True),
        "not a number": (np.full_like(source_only, np.nan), True),
    }
    stacked = np.stack([logits for logits, _ in cases.values()])
    found, info = jax.jit(jax.vmap(reject_collapsed, (0, None)))(stacked, source_only)
    expected = [rejected for _, rejected in cases.values()]
    assert dict(zip(cases, found.tolist(), strict=True)) == dict(zip(cases, expected, strict=True))
    assert np.isnan(info.kappa[-1]) and info.class_shares[2].tolist() == [1, 0, 0, 0]
    # A source-only network that is not a number can vouch for nobody.
    assert jax.jit(reject_collapsed)(stacked[0], stacked[-1])[0]


def test_the_thresholds_decide():
    two_classes, source_only = predictor(CLASSES // 2 * 2), predictor(CLASSES)
    assert not reject_collapsed(two_classes, source_only, least_class_entropy=0.49)[0]
    assert reject_collapsed(two_classes, source_only, least_class_entropy=0.51)[0]
    exchanged = predictor((CLASSES + 1) % 4)
    assert not reject_collapsed(exchanged, source_only, least_kappa=-1)[0]
    assert reject_collapsed(two_classes, source_only, least_kappa=0.4, least_class_entropy=0)[0]


def test_two_that_have_collapsed_alike_do_not_vouch_for_each_other():
    one_class = predictor(0 * CLASSES)
    rejected, info = reject_collapsed(one_class, one_class, least_class_entropy=0)
    assert rejected and info.class_shares[0] == 1 and info.kappa == 0


def test_a_source_only_predictor_that_has_collapsed_is_no_witness():
    one_class, right = predictor(0 * CLASSES), predictor(CLASSES)
    rejected, info = reject_collapsed(right, one_class)
    assert not rejected and info.kappa == 0
    assert reject_collapsed(one_class, one_class)[0]
    # By a threshold that it passes itself, it is one.
    assert reject_collapsed(right, one_class, least_class_entropy=0)[0]


def test_mistakes():
    logits, _ = examples.labelled()
    examples.assert_mistakes_are_refused(reject_collapsed, logits, logits)
    with pytest.raises(ValueError, match="logits and source_only_logits must have the same shape"):
        reject_collapsed(logits, logits[1:])
    with pytest.raises(ValueError, match="least_class_entropy must be .* at most 1; it is 2"):
        reject_collapsed(logits, logits, least_class_entropy=2)
    with pytest.raises(TypeError, match="least_kappa must be a number"):
        reject_collapsed(logits, logits, least_kappa="much")
