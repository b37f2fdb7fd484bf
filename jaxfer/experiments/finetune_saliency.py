"""Which places of an image, or of a spectrogram, single predictions turned on."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxfer.data import Domain
from jaxfer.evaluation import integrated_gradients
from jaxfer.models import Network
from jaxfer.report import ImageSaliency, image_saliency
from jaxfer.typing import PyTree

SHOWN = 5  # right predictions that are drawn, and as many wrong ones
TITLE = "Blue spoke for the prediction, orange against it"


def draw_saliency(
    network: Network,
    domain: Domain,
    out_png: Path,
    params: PyTree,
    state: PyTree,
    logits: np.ndarray,
    *,
    prepare: Callable[[jax.Array], jax.Array],
    upright: Callable[[np.ndarray], np.ndarray] = lambda x: x,
    title: str = TITLE,
) -> None:
    """Draws which places some right and some wrong predictions turned on.

    Attributions are integrated gradients from an example's mean: what has no shape.

    Args:
      network: gives logits.
      domain: its test is drawn from.
      out_png: the picture to write.
      params, state: of the network.
      logits: ``[n, classes]``, of the test.
      prepare: from examples as they are stored to what the network takes, ``[n, height, width]`` or
        with channels.
      upright: from an example, or its attributions ``[height, width]``, to how it is drawn.
      title: stands above.
    """
    found, truth = logits.argmax(1), np.asarray(domain.test.y)
    places = np.concatenate([_some(found == truth), _some(found != truth)])
    chosen = jnp.asarray(found[places])

    @jax.jit
    def attribute(params: PyTree, x: jax.Array) -> jax.Array:
        x = prepare(x)

        def score(x: jax.Array) -> jax.Array:
            output, _ = network.apply(params, state, x, train=False)
            return jnp.take_along_axis(output.logits, chosen[:, None], axis=1)[:, 0]

        baseline = jnp.mean(x, axis=(1, 2), keepdims=True)
        attributions = integrated_gradients(score, x, baseline=baseline)[0]
        return attributions.reshape(*x.shape[:3], -1).sum(-1)

    scores = np.asarray(attribute(params, jnp.asarray(domain.test.x[places])))
    rows = []
    for place, each in zip(places, scores, strict=True):
        right = found[place] == truth[place]
        verdict = "right" if right else f"truly {domain.classes[truth[place]]}"
        name = f"{domain.classes[found[place]]}, {verdict}"
        rows.append(ImageSaliency(name, upright(domain.test.x[place]), upright(each)))
    image_saliency(rows, out_png, title=title)


def _some(which: np.ndarray) -> np.ndarray:
    """Places that are marked, spread over all of them: a test may lie there class by class."""
    places = np.flatnonzero(which)
    few = min(SHOWN, len(places))
    return places[np.linspace(0, max(0, len(places) - 1), few).astype(int)]
