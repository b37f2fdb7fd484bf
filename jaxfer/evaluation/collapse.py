"""A guard: predictors that have collapsed are not to be chosen, however well they score."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.options import check_number
from jaxfer.divergences.samples import floating, one_sample
from jaxfer.evaluation.examples import nan_where_nan, predicted_shares


class CollapseInfo(NamedTuple):
    """What the guard saw.

    Attributes:
      class_entropy: a scalar in [0, 1], the entropy of the predicted classes over that of uniform
        ones: 0 where all examples get one class.
      kappa: a scalar in [-1, 1], the agreement with the source-only predictor beyond chance: 1 for
        equal predictions, 0 for what the shares of the classes alone would give.
      agreement: a scalar in [0, 1], the share of examples on which both say the same.
      class_shares: ``[classes]``, how often each class was predicted.

    >>> logits = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> reject_collapsed(logits, logits)[1].class_shares.tolist()
    [0.5, 0.5]
    """

    class_entropy: Array
    kappa: Array
    agreement: Array
    class_shares: Array


def reject_collapsed(
    logits: Any,
    source_only_logits: Any,
    *,
    least_class_entropy: float | Array = 0.7,
    least_kappa: float | Array = 0.2,
    weights: Any = None,
) -> tuple[Array, CollapseInfo]:
    r"""Says whether a predictor has collapsed on the target, without the target's labels.

    It is rejected unless both hold, the second only where source-only has not collapsed itself, by
    the same measure of its own shares :math:`s`:

    .. math::
        \frac{H(q)}{\ln K} \ge \mathrm{least\_class\_entropy}, \qquad
        \kappa = \frac{a - \sum_k q_k s_k}{1 - \sum_k q_k s_k} \ge \mathrm{least\_kappa}

    with :math:`q` and :math:`s` the shares of the :math:`K` classes among the most probable ones of
    the predictor and of the source-only one, and :math:`a` the share of examples on which these two
    agree. The first finds predictors that use few classes; the second, those that use all of them
    but have mixed them up, as alignment does that puts class upon wrong class. Entropy, density
    and alignment validators score both highly. A source-only predictor that calls everything by a
    few names, as on heavy noise, is no witness for the second.

    The defaults: an entropy of 0.7 is about that of five in ten classes used alike, or of 19% and
    81% in two; a kappa of 0.2 is little beyond chance, so that a method may well overturn most
    answers of a source-only predictor that is poor. Lower ``least_class_entropy`` where the
    target is known to hold few of the classes, as in partial adaptation.

    Args:
      logits: ``[n, classes]``, of target examples, floating point.
      source_only_logits: of the same shape: what the network that was trained on the source alone
        says of the same examples.
      least_class_entropy: from 0, which never rejects, to 1.
      least_kappa: from -1, which never rejects, to 1.
      weights: ``[n]``, not negative, on any scale; an example of weight 0 is absent. ``None``
        weighs all alike.

    Returns:
      Whether it is rejected, a boolean scalar, and the :class:`CollapseInfo`. Traced logits that
      hold NaN are rejected.

    Raises:
      TypeError: for logits that are not of floating point, or thresholds that are no numbers.
      ValueError: for shapes or thresholds that do not fit; where arrays are concrete also for NaN,
        infinity, and weights that are negative or all 0.

    Source: Cohen 1960, A coefficient of agreement for nominal scales, equation 1, for kappa. The
    rule and its thresholds are this library's.

    >>> source_only = jnp.eye(3)[jnp.array([0, 1, 2, 0, 1, 2, 0, 1])]
    >>> for name, classes in {
    ...     "better": [0, 1, 2, 0, 1, 2, 2, 2],
    ...     "one class": [0, 0, 0, 0, 0, 0, 0, 0],
    ...     "mixed up": [1, 2, 0, 1, 2, 0, 1, 2],
    ... }.items():
    ...     rejected, _ = reject_collapsed(jnp.eye(3)[jnp.array(classes)], source_only)
    ...     print(f"{name}: {bool(rejected)}")
    better: False
    one class: True
    mixed up: True
    """
    check_number("least_class_entropy", least_class_entropy, at_least=0, at_most=1)
    check_number("least_kappa", least_kappa, at_least=-1, at_most=1)
    logits, weights, _ = one_sample(logits, weights, name="logits")
    source_only_logits = floating("source_only_logits", source_only_logits)
    if source_only_logits.shape != logits.shape:
        raise ValueError(
            "logits and source_only_logits must have the same shape; "
            f"their shapes are {logits.shape} and {source_only_logits.shape}."
        )
    return _guard(logits, source_only_logits, weights, least_class_entropy, least_kappa)


@jax.jit
def _guard(
    logits: Array,
    source_only_logits: Array,
    weights: Array,
    least_class_entropy: Array,
    least_kappa: Array,
) -> tuple[Array, CollapseInfo]:
    shares = predicted_shares(logits, weights)
    others = predicted_shares(source_only_logits, weights)
    class_entropy = _class_entropy(shares)
    same = jnp.argmax(logits, axis=-1) == jnp.argmax(source_only_logits, axis=-1)
    agreement = weights @ (same + nan_where_nan(logits) + nan_where_nan(source_only_logits))
    chance = shares @ others
    # Both say the same one class throughout: they agree, and nothing is beyond chance.
    beyond = chance < 1
    kappa = jnp.where(beyond, (agreement - chance) / jnp.where(beyond, 1 - chance, 1), 0)
    kappa = jnp.where(jnp.isnan(chance), jnp.nan, kappa)
    witness = ~(_class_entropy(others) < least_class_entropy)  # NaN is one, and rejects below
    kept = (class_entropy >= least_class_entropy) & (~witness | (kappa >= least_kappa))
    return ~kept, CollapseInfo(class_entropy, kappa, agreement, shares)


def _class_entropy(shares: Array) -> Array:
    """The entropy of shares of classes, over that of uniform ones."""
    entropy = -jnp.sum(shares * jnp.log(jnp.where(shares > 0, shares, 1)))
    return entropy / jnp.log(max(2, shares.shape[0]))
