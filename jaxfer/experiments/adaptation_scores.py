"""What a validation of an adapted network measures: validators, the guard, open-set accuracies."""

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer import evaluation
from jaxfer.typing import Classification, Metrics

VALIDATORS = (
    "source_accuracy", "entropy", "information_maximization", "neighbourhood_density", "mmd",
    "importance_weighted", "deep_embedded",
)  # fmt: skip
OPEN_SET = ("target_os", "target_os_star", "target_unknown")
LEAST_CLASS_ENTROPY = 0.7


def validator_scores(source: Classification, target: Classification, labels: Array) -> Metrics:
    """The score of every validator; higher is better, and no target label has a part in it.

    The density ratios of the last two are of one domain classifier, fitted to the features of these
    same examples: they were kept from the network's training, and with two halves of them, one to
    fit and one to weigh, ratios in hundreds of dimensions come out off by orders of magnitude.

    Args:
      source, target: what the network makes of the examples held out, ``[n, ...]``, ``[m, ...]``.
      labels: of the source, ``[n]``.

    Returns:
      A scalar for each of `VALIDATORS`.

    >>> output = Classification(jnp.eye(4), jnp.eye(4))
    >>> scores = validator_scores(output, output, jnp.arange(4))
    >>> tuple(scores) == VALIDATORS, float(scores["source_accuracy"])
    (True, 1.0)
    """
    ratios, _ = evaluation.domain_density_ratio(source.features, target.features)
    weighted = (source.logits, labels, ratios)
    return {
        "source_accuracy": evaluation.source_accuracy(source.logits, labels),
        "entropy": evaluation.entropy_score(target.logits),
        "information_maximization": evaluation.information_maximization_score(target.logits),
        # A single example has no neighbour.
        "neighbourhood_density": evaluation.soft_neighbourhood_density(target.logits)
        if len(target.logits) > 1
        else jnp.full((), jnp.nan),
        "mmd": evaluation.mmd_score(source.features, target.features),
        "importance_weighted": evaluation.importance_weighted_validation(*weighted),
        "deep_embedded": evaluation.deep_embedded_validation(*weighted),
    }


def collapsed(
    logits: Array,
    source_only_logits: Array,
    *,
    least_class_entropy: float = LEAST_CLASS_ENTROPY,
) -> Array:
    """Whether the guard rejects a predictor, which may have one class more than source-only.

    The additional one, the unknown, is a class like the others where it is asked how many are used:
    to call everything unknown is a collapse. Agreement with source-only, which never says unknown,
    is asked for among the examples that are called known.

    Args:
      logits: ``[m, classes]`` or ``[m, classes + 1]``, of target examples.
      source_only_logits: ``[m, classes]``.
      least_class_entropy: as for `jaxfer.evaluation.reject_collapsed`.

    Returns:
      A boolean scalar.

    >>> source_only = jnp.eye(2)[jnp.array([0, 1, 0, 1])]
    >>> some, all_unknown = (jnp.eye(3)[jnp.array(c)] for c in ([0, 1, 2, 2], [2, 2, 2, 2]))
    >>> bool(collapsed(some, source_only)), bool(collapsed(all_unknown, source_only))
    (False, True)
    """
    classes = source_only_logits.shape[-1]
    if logits.shape[-1] == classes:
        rejected, _ = evaluation.reject_collapsed(
            logits, source_only_logits, least_class_entropy=least_class_entropy
        )
        return rejected
    known = (jnp.argmax(logits, axis=-1) < classes).astype(logits.dtype)
    some = jnp.any(known > 0)
    # Beside itself it agrees fully: what is left of the guard is how many classes are used.
    uniform, _ = evaluation.reject_collapsed(
        logits, logits, least_class_entropy=least_class_entropy
    )
    mixed_up, _ = evaluation.reject_collapsed(
        logits[:, :classes],
        source_only_logits,
        least_class_entropy=least_class_entropy,
        weights=jnp.where(some, known, 1),
    )
    return uniform | mixed_up


def open_set_scores(logits: Array, labels: Array, *, unknown: int) -> Metrics:
    r"""Accuracies where each class counts alike: over all of them, the known ones, the unknown one.

    .. math:: a_c = \frac{|\{i : \hat y_i = y_i = c\}|}{|\{i : y_i = c\}|}

    OS is the mean of :math:`a_c` over the classes that occur, OS* that over the known ones among
    them.

    Args:
      logits: ``[n, unknown]`` or ``[n, unknown + 1]``.
      labels: ``[n]``, from 0 to ``unknown``.
      unknown: the number of the unknown class, the last one.

    Returns:
      A scalar for each of `OPEN_SET`: OS, OS* and :math:`a_u`; NaN where no such class occurs.

    Source: Saito et al. 2018, Open set domain adaptation by backpropagation, section 4, for OS and
      OS*.

    >>> logits = jnp.eye(3)[jnp.array([0, 0, 1, 2, 2])]
    >>> scores = open_set_scores(logits, jnp.array([0, 1, 1, 2, 2]), unknown=2)
    >>> [round(float(score), 3) for score in scores.values()]
    [0.833, 0.75, 1.0]
    """
    counts = evaluation.confusion_matrix(with_classes(logits, unknown + 1), labels)
    total = jnp.sum(counts, axis=1)
    of_class = jnp.diag(counts) / total  # NaN for a class that does not occur
    means = (jnp.nanmean(of_class), jnp.nanmean(of_class[:unknown]), of_class[unknown])
    died = jnp.isnan(logits).any()
    return {
        name: jnp.where(died, jnp.nan, value) for name, value in zip(OPEN_SET, means, strict=True)
    }


def with_classes(logits: Array, classes: int) -> Array:
    """Gives logits the columns that they lack, of classes that are never the most probable.

    Args:
      logits: ``[..., at most classes]``.
      classes: how many there are to be.

    Returns:
      ``[..., classes]``.

    >>> with_classes(jnp.array([[2.0, 5.0]]), 3).tolist()
    [[2.0, 5.0, 1.0]]
    """
    lacking = classes - logits.shape[-1]
    if not lacking:
        return logits
    lowest = jnp.min(logits, axis=-1, keepdims=True) - 1
    return jnp.concatenate([logits, jnp.repeat(lowest, lacking, axis=-1)], axis=-1)


def keep_source_only(
    picked: Classification, source_only: Classification, kept: Array
) -> Classification:
    """What source-only's network says, in the runs in which nothing was picked.

    Args:
      picked: of a method, ``[runs, n, ...]``.
      source_only: of the same examples; its logits may lack the unknown class.
      kept: ``[runs]``, booleans, whether source-only was kept.

    Returns:
      The outputs of what is reported.

    >>> one, two = (Classification(x[..., None], x[..., None]) for x in jnp.ones((2, 2, 1)))
    >>> two = jax.tree.map(lambda x: 2 * x, two)
    >>> keep_source_only(one, two, jnp.array([False, True])).features.ravel().tolist()
    [1.0, 2.0]
    """
    classes = picked.logits.shape[-1]
    theirs = source_only._replace(logits=with_classes(source_only.logits, classes))

    def choose(ours: Array, other: Array) -> Array:
        return jnp.where(kept.reshape(-1, *(1,) * (ours.ndim - 1)), other, ours)

    return jax.tree.map(choose, picked, theirs)
