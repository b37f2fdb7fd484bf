"""The order of candidates is that of how well they tell the classes apart, whatever the score."""

import numpy as np
import pytest

from jaxfer.transferability import (
    coding_rate_gain,
    log_evidence,
    logme,
    rank_sources,
    shrunk_h_score,
)


def candidates(n=60):
    draw = np.random.default_rng(0)
    labels = np.arange(n) % 3
    centres = draw.normal(size=(3, 8))
    noise = draw.normal(size=(n, 8))
    found = {f"signal {s}": (s * centres[labels] + noise).astype(np.float32) for s in (0, 3, 1)}
    return found, labels


@pytest.mark.parametrize("score", [log_evidence, shrunk_h_score, coding_rate_gain])
def test_more_signal_comes_first(score):
    found, labels = candidates()
    ranking = rank_sources(found, labels, score=score)
    assert ranking.names == ("signal 3", "signal 1", "signal 0")
    assert (np.diff(ranking.scores) < 0).all()


def test_shapes_may_differ_and_a_broken_score_comes_last():
    found, labels = candidates()
    found["wide"] = np.concatenate([found["signal 3"]] * 2, axis=1)
    found["maps"] = found["signal 1"].reshape(-1, 2, 2, 2)
    ranking = rank_sources(found, labels)
    scores = dict(zip(ranking.names, ranking.scores, strict=True))
    np.testing.assert_allclose(scores["maps"], scores["signal 1"], rtol=1e-5)
    np.testing.assert_allclose(scores["wide"], logme(found["wide"], labels)[0], rtol=1e-4)

    def fails_on_noise(features, labels, classes):
        score = features[0, 0] + classes
        return score * np.nan if features.shape[1] == 16 else score

    assert rank_sources(found, labels, score=fails_on_noise).names[-1] == "wide"


def test_mistakes_name_the_candidate():
    found, labels = candidates()
    with pytest.raises(ValueError, match="candidates must hold"):
        rank_sources({}, labels)
    with pytest.raises(ValueError, match="candidate 'short': labels must hold one class"):
        rank_sources({**found, "short": found["signal 0"][:5]}, labels)
    with pytest.raises(TypeError, match="candidate 'counts': features must be of floating point"):
        rank_sources({"counts": np.ones((60, 2), int)}, labels)
