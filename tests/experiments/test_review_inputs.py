"""Inputs made of counts, beside scikit-learn's, and which reviews are held out."""

import numpy as np
from sklearn.feature_extraction.text import TfidfTransformer

from jaxfer.experiments.review_inputs import deal, prepare


def test_inputs_are_those_of_scikit_learn():
    draw = np.random.default_rng(0)
    source, target, other = (draw.poisson(0.4, (n, 9)).astype(np.float32) for n in (8, 6, 5))
    source[0] = 0
    found = prepare(source, target, other, how="tfidf", length=3.0)
    transformer = TfidfTransformer().fit(np.concatenate([source, target]))
    for x, counts in zip(found, (source, target, other), strict=True):
        expected = 3 * transformer.transform(np.log1p(counts)).toarray()
        np.testing.assert_allclose(x, expected, atol=1e-5)
    binary = prepare(source, target, how="binary", length=1.0)[0]
    assert set(np.sign(binary[3])) == set(np.sign(source[3]))
    assert prepare(source, target, how="counts", length=1.0)[1] is target


def test_each_seed_holds_other_reviews_out():
    source, target = deal((0, 1, 2), 50, 30)
    for side, places in ((source, range(50)), (target, range(50, 80))):
        assert side.held_out.shape == (3, len(places) // 10)
        for train, held_out in zip(side.train, side.held_out, strict=True):
            assert sorted([*train.tolist(), *held_out.tolist()]) == list(places)
        assert len(np.unique(side.held_out, axis=0)) == 3
