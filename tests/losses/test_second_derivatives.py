"""Second derivatives of every batch-coupled loss, by forward over reverse and by reverse twice."""

from functools import partial

import pytest

from jaxfer import losses

from . import (
    test_domain_adversarial,
    test_margin_disparity,
    test_partial,
    test_wasserstein_critic,
)
from .contracts import assert_second_derivatives

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("f", "options"),
    [
        pytest.param(losses.information_maximization, {}, id="information"),
        pytest.param(partial(losses.hard_feature_norm, radius=3.0), {}, id="norm"),
        pytest.param(partial(losses.batch_spectral_penalty, singular_values=2), {}, id="spectral"),
        pytest.param(losses.nuclear_norm_maximization, {}, id="nuclear"),
        pytest.param(losses.minimum_class_confusion, {"smooth": False}, id="confusion"),
        pytest.param(
            partial(losses.minimum_class_confusion, entropy_weights=False), {}, id="unweighted"
        ),
        pytest.param(test_partial.weighed, {}, id="partial"),
        pytest.param(test_domain_adversarial.scored, {"samples": 2}, id="domain"),
        pytest.param(test_margin_disparity.of_features, {"samples": 2}, id="margin"),
        pytest.param(test_wasserstein_critic.of_features, {"samples": 2}, id="critic"),
    ],
)
def test_they_are_differences_of_gradients(f, options, x64):
    assert_second_derivatives(f, **options)
