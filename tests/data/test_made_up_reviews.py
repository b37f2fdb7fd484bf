"""Reviews that nobody wrote are words as they are: rare, toned, and of a domain."""

import numpy as np
from sklearn.linear_model import LogisticRegression

from jaxfer.data import make_up_reviews


def test_they_can_be_told_by_tone_and_by_domain_and_differ_between_domains():
    domains = make_up_reviews()
    left, right = domains["left"], domains["right"]
    for domain in (left, right):
        assert domain.train.x.shape == (400, 600) and domain.test.x.shape == (1000, 600)
        assert np.mean(domain.train.y) == np.mean(domain.test.y) == 0.5
        assert np.array_equal(domain.train.x, np.round(domain.train.x))
        assert 30 < domain.train.x.sum(1).mean() < 50
        assert "no real data" in domain.origin

    def accuracy(source, target):
        model = LogisticRegression(C=0.1, max_iter=500).fit(
            np.log1p(source.train.x), source.train.y
        )
        return model.score(np.log1p(target.test.x), target.test.y)

    own, other = accuracy(left, left), accuracy(left, right)
    assert own > 0.7 and 0.55 < other < own - 0.03
    again = make_up_reviews()["left"]
    assert again.checksum == left.checksum != make_up_reviews(1)["left"].checksum
