"""Maps of features: products with a prediction, and adapters that begin as the identity."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jaxfer.divergences.options import check_count
from jaxfer.divergences.samples import floating
from jaxfer.typing import Key, PyTree


class FeatureMap(NamedTuple):
    """A map of features with parameters, as two pure functions.

    Attributes:
      init: ``init(key) -> params``.
      apply: ``apply(params, features) -> mapped``, ``[batch, inputs]`` to ``[batch, outputs]``.

    >>> adapter = linear_feature_map(2)
    >>> adapter.apply(adapter.init(jax.random.key(0)), jnp.array([[1.0, 2.0]]))
    Array([[1., 2.]], dtype=float32)
    """

    init: Callable[[Key], PyTree]
    apply: Callable[[PyTree, Array], Array]


def multilinear_map(features: Any, probabilities: Any) -> Array:
    r"""Products of every feature with every class probability.

    .. math:: T_\otimes(f, g) = f \otimes g, \qquad T_{(a, c)} = f_a \, g_c

    CDAN's adversary sees it in place of the features: it knows the prediction too, and the means of
    the map are those of the features in each class.

    Args:
      features: :math:`f`, ``[batch, features]``.
      probabilities: :math:`g`, ``[batch, classes]``, such as ``jax.nn.softmax(logits)``.
        Both are differentiated; tllib stops the gradient of the probabilities, the paper does not.

    Returns:
      ``[batch, features * classes]``, the classes of one feature beside each other.

    Raises:
      TypeError: for arrays that are not of floating point.
      ValueError: for shapes that do not fit.

    Source: Long et al. 2018, Conditional adversarial domain adaptation, section 3.2.

    >>> multilinear_map(jnp.array([[1.0, 2.0]]), jnp.array([[0.25, 0.75]]))
    Array([[0.25, 0.75, 0.5 , 1.5 ]], dtype=float32)
    """
    features, probabilities = _pair(features, probabilities)
    product = features[:, :, None] * probabilities[:, None, :]
    return product.reshape(len(features), -1)


def random_multilinear_map(
    features: Any, probabilities: Any, *, key: Key, dimension: int = 1024
) -> Array:
    r"""Random products that stand for all of :func:`multilinear_map` in fewer dimensions.

    .. math::
        T_\odot(f, g) = \frac{1}{\sqrt{d}} (R_f f) \odot (R_g g), \qquad R \sim N(0, 1)

    Inner products of two maps are, on average over keys, those of the full map.

    Args:
      features: :math:`f`, ``[batch, features]``.
      probabilities: :math:`g`, ``[batch, classes]``.
      key: of the two matrices, which are drawn anew at each call: give the same key at every step
        and for both domains.
      dimension: :math:`d`, at least 1.

    Returns:
      ``[batch, dimension]``.

    Raises:
      TypeError: for arrays that are not of floating point.
      ValueError: for shapes or a dimension that do not fit.

    Source: Long et al. 2018, Conditional adversarial domain adaptation, section 3.2; the paper
    takes it where features times classes exceed 4096.

    >>> features, probabilities = jnp.array([[1.0, 2.0]]), jnp.array([[0.25, 0.75]])
    >>> random_multilinear_map(features, probabilities, key=jax.random.key(0), dimension=8).shape
    (1, 8)
    """
    features, probabilities = _pair(features, probabilities)
    check_count("dimension", dimension)
    mapped = [
        x @ jax.random.normal(each, (x.shape[1], dimension), x.dtype)
        for each, x in zip(jax.random.split(key), (features, probabilities), strict=True)
    ]
    return mapped[0] * mapped[1] / jnp.sqrt(jnp.asarray(dimension, mapped[0].dtype))


def linear_feature_map(inputs: int, outputs: int | None = None) -> FeatureMap:
    r"""An affine map of features.

    .. math:: x \mapsto W^\top x + b

    Args:
      inputs: number of features.
      outputs: of the mapped features. ``None`` takes as many, and begins as the identity; a number
        begins with :math:`W \sim N(0, 1 / \mathrm{inputs})`. :math:`b` begins at 0.

    Returns:
      A :class:`FeatureMap` with parameters ``weight`` ``[inputs, outputs]`` and ``bias``.

    Raises:
      TypeError: for what is not an integer.
      ValueError: for a number below 1.

    >>> adapter = linear_feature_map(3, 2)
    >>> adapter.apply(adapter.init(jax.random.key(0)), jnp.ones((4, 3))).shape
    (4, 2)
    """
    check_count("inputs", inputs)
    if outputs is not None:
        check_count("outputs", outputs)

    def init(key: Key) -> PyTree:
        if outputs is None:
            return {"weight": jnp.eye(inputs), "bias": jnp.zeros(inputs)}
        return _affine(key, inputs, outputs)

    def apply(params: PyTree, features: Array) -> Array:
        return _checked(features, inputs) @ params["weight"] + params["bias"]

    return FeatureMap(init, apply)


def low_rank_feature_map(inputs: int, *, rank: int) -> FeatureMap:
    r"""The identity, a correction of low rank and a shift.

    .. math:: x \mapsto x + B^\top A^\top x + b

    It begins as the identity: :math:`A \sim N(0, 1 / \mathrm{inputs})`, and :math:`B` and :math:`b`
    are 0.

    Args:
      inputs: number of features.
      rank: of the correction, at least 1 and at most ``inputs``.

    Returns:
      A :class:`FeatureMap` with parameters ``down`` ``[inputs, rank]``, ``up`` ``[rank, inputs]``
      and ``bias``.

    Raises:
      TypeError: for what is not an integer.
      ValueError: for a number out of range.

    >>> adapter = low_rank_feature_map(3, rank=1)
    >>> adapter.apply(adapter.init(jax.random.key(0)), jnp.array([[1.0, 2.0, 3.0]]))
    Array([[1., 2., 3.]], dtype=float32)
    """
    check_count("inputs", inputs)
    check_count("rank", rank)
    if rank > inputs:
        raise ValueError(f"rank must be at most inputs, which is {inputs}; it is {rank}.")

    def init(key: Key) -> PyTree:
        return {
            "down": _affine(key, inputs, rank)["weight"],
            "up": jnp.zeros((rank, inputs)),
            "bias": jnp.zeros(inputs),
        }

    def apply(params: PyTree, features: Array) -> Array:
        features = _checked(features, inputs)
        return features + features @ params["down"] @ params["up"] + params["bias"]

    return FeatureMap(init, apply)


def network_feature_map(
    inputs: int,
    outputs: int | None = None,
    *,
    hidden: Sequence[int] = (64,),
    activation: Callable[[Array], Array] = jax.nn.relu,
) -> FeatureMap:
    r"""A small network, added to the features where their number stays.

    .. math:: x \mapsto x + h(x), \qquad h = W_k \, \sigma ( \dots \sigma (W_1 x + b_1)) + b_k

    Args:
      inputs: number of features.
      outputs: of the mapped features. ``None`` takes as many and adds the network to them; its last
        layer begins at 0, and so the map as the identity. A number gives :math:`h(x)` alone.
      hidden: widths of the hidden layers, at least one. Weights begin as
        :math:`N(0, 1 / \mathrm{inputs})` of their layer, biases at 0.
      activation: :math:`\sigma`.

    Returns:
      A :class:`FeatureMap`, its parameters a list of ``weight`` and ``bias`` for each layer.

    Raises:
      TypeError: for what is not an integer.
      ValueError: for a number below 1, or no hidden layer.

    >>> adapter = network_feature_map(2, hidden=(8,))
    >>> adapter.apply(adapter.init(jax.random.key(0)), jnp.array([[1.0, 2.0]]))
    Array([[1., 2.]], dtype=float32)
    """
    check_count("inputs", inputs)
    if outputs is not None:
        check_count("outputs", outputs)
    hidden = tuple(hidden)
    if not hidden:
        raise ValueError("hidden must hold at least one width; linear_feature_map needs none.")
    for width in hidden:
        check_count("hidden", width)
    sizes = (inputs, *hidden, inputs if outputs is None else outputs)

    def init(key: Key) -> PyTree:
        keys = jax.random.split(key, len(sizes) - 1)
        layers = [
            _affine(each, fan_in, fan_out)
            for each, fan_in, fan_out in zip(keys, sizes[:-1], sizes[1:], strict=True)
        ]
        if outputs is None:
            layers[-1] = jax.tree.map(jnp.zeros_like, layers[-1])
        return layers

    def apply(params: PyTree, features: Array) -> Array:
        mapped = features = _checked(features, inputs)
        for index, layer in enumerate(params):
            mapped = mapped @ layer["weight"] + layer["bias"]
            mapped = activation(mapped) if index < len(params) - 1 else mapped
        return features + mapped if outputs is None else mapped

    return FeatureMap(init, apply)


def _affine(key: Key, inputs: int, outputs: int) -> dict[str, Array]:
    scale = 1 / jnp.sqrt(inputs)
    return {
        "weight": scale * jax.random.normal(key, (inputs, outputs)),
        "bias": jnp.zeros(outputs),
    }


def _pair(features: Any, probabilities: Any) -> tuple[Array, Array]:
    features = floating("features", features)
    probabilities = floating("probabilities", probabilities)
    if features.ndim != 2 or probabilities.ndim != 2 or len(features) != len(probabilities):
        raise ValueError(
            "features and probabilities must be arrays [batch, features] and [batch, classes]; "
            f"their shapes are {features.shape} and {probabilities.shape}."
        )
    dtype = jnp.promote_types(features.dtype, probabilities.dtype)
    return features.astype(dtype), probabilities.astype(dtype)


def _checked(features: Array, inputs: int) -> Array:
    features = jnp.asarray(features)
    if features.ndim < 1 or features.shape[-1] != inputs:
        raise ValueError(
            f"features must be an array [batch, {inputs}]; their shape is {features.shape}."
        )
    return features
