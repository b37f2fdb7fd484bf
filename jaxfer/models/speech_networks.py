"""Recognisers of spectrograms by name."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
from flax import nnx

from jaxfer.models.image_networks import image_network
from jaxfer.models.recurrent_speech import RecurrentSpeechEncoder
from jaxfer.models.resnet import ImageClassifier
from jaxfer.models.spectrogram_encoder import SpectrogramEncoder
from jaxfer.typing import UserError

SPEECH_NETWORKS = ("image", "conv", "gru")


def speech_classifier(
    name: str,
    *,
    mels: int,
    features: int,
    classes: int,
    numerics: Mapping[str, Any] = MappingProxyType({}),
) -> Callable[[nnx.Rngs], nnx.Module]:
    """How to build a recogniser of spectrograms: an encoder with a linear head.

    Args:
      name: ``image``, the small encoder of grey images; ``conv``, a
        :class:`~jaxfer.models.SpectrogramEncoder`; or ``gru``, a
        :class:`~jaxfer.models.recurrent_speech.RecurrentSpeechEncoder`.
      mels: bands of a spectrogram.
      features: of the encoders conv and gru; that of images has its own.
      classes: of the head.
      numerics: what weights of an encoder of images presuppose; what else it holds is passed over.

    Returns:
      ``build(rngs)``, a module from what :func:`speech_input` gives to
      :class:`~jaxfer.typing.Classification`.

    Raises:
      UserError: there is no network of that name.

    >>> build = speech_classifier("gru", mels=8, features=4, classes=3)
    >>> build(nnx.Rngs(0))(jax.numpy.zeros((2, 9, 8))).logits.shape
    (2, 3)
    """
    if name not in SPEECH_NETWORKS:
        raise UserError(f"There is no network {name!r}; there are: {', '.join(SPEECH_NETWORKS)}.")
    network = None
    if name == "image":
        network = image_network("small", image_size=mels, color=False).with_numerics(numerics)

    def build(rngs: nnx.Rngs) -> nnx.Module:
        encoder: nnx.Module
        if network is not None:
            encoder = network.build(rngs)
        elif name == "conv":
            encoder = SpectrogramEncoder(mels=mels, features=features, rngs=rngs)
        else:
            encoder = RecurrentSpeechEncoder(mels=mels, features=features, rngs=rngs)
        width = features if network is None else network.features
        return ImageClassifier(encoder, features=width, classes=classes, rngs=rngs)

    return build


def speech_input(x: jax.Array, name: str) -> jax.Array:
    """Spectrograms as a network takes them.

    Args:
      x: ``[n, frames, mels]``.
      name: of the network, see :func:`speech_classifier`.

    Returns:
      The same, for ``image`` with a channel: ``[n, frames, mels, 1]``.

    >>> speech_input(jax.numpy.zeros((2, 9, 8)), "image").shape
    (2, 9, 8, 1)
    """
    return x[..., None] if name == "image" else x
