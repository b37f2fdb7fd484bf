"""What single predictions turned on: pictures of some that are right and some that are wrong."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tokenizers import Tokenizer

from jaxfer.data import Domain
from jaxfer.evaluation import attention_rollout, integrated_gradients
from jaxfer.models import ImageClassifier, Network, TextClassifier, ViT, from_nnx
from jaxfer.report import ImageSaliency, TextSaliency, image_saliency, text_saliency
from jaxfer.typing import PyTree, Tokens

GRADIENTS = "Blue spoke for the prediction, orange against it (integrated gradients)"
ROLLOUT = "The greener, the more of the attention leads back there (rollout)"


def right_and_wrong(logits: np.ndarray, labels: np.ndarray, *, each: int) -> np.ndarray:
    """Places of at most so many right predictions, then of wrong ones.

    They are spread over the test, which may lie there class by class.

    >>> right_and_wrong(np.array([[1, 0], [0, 1], [1, 0]]), np.array([0, 0, 0]), each=2)
    array([0, 2, 1])
    """
    right = np.argmax(logits, axis=1) == np.asarray(labels)

    def some(which: np.ndarray) -> np.ndarray:
        places = np.flatnonzero(which)
        few = min(each, len(places))
        return places[np.linspace(0, max(0, len(places) - 1), few).astype(int)]

    return np.concatenate([some(right), some(~right)])


def draw_texts(
    folder: Path,
    build: Callable[[nnx.Rngs], nnx.Module],
    params: PyTree,
    state: PyTree,
    texts: Domain,
    tokenizer: Tokenizer,
    places: np.ndarray,
    logits: np.ndarray,
) -> None:
    """Draws ``saliency.png`` and ``rollout.png`` of some texts of the test.

    Args:
      folder: for the pictures.
      build: the module, a ``TextClassifier``.
      params, state: its.
      texts: in tokens.
      tokenizer: that made them.
      places: of what is drawn.
      logits: ``[n, classes]``, of the whole test.
    """
    tokens = jax.tree.map(lambda leaf: jnp.asarray(leaf[places]), texts.test.x)
    embed = from_nnx(build, call=lambda module, x: module.encoder.embed(x))
    classify = from_nnx(build, call=lambda module, x: module.classify(*x).logits)
    attend = from_nnx(build, call=lambda module, x: module.encoder.attention_maps(x))
    module = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    first = isinstance(module, TextClassifier) and module.pooling == "first"
    chosen = jnp.asarray(logits[places].argmax(1))

    @jax.jit
    def attribute(params: PyTree, tokens: Tokens) -> jax.Array:
        x, _ = embed.apply(params, state, tokens, train=False)
        # Padding, at the same places, is what says nothing.
        blank = tokens._replace(ids=jnp.zeros_like(tokens.ids))
        baseline, _ = embed.apply(params, state, blank, train=False)

        def score(x: jax.Array) -> jax.Array:
            all_logits, _ = classify.apply(params, state, (x, tokens.mask), train=False)
            return jnp.take_along_axis(all_logits, chosen[:, None], axis=1)[:, 0]

        return integrated_gradients(score, x, baseline=baseline)[0].sum(-1)

    @jax.jit
    def lead_back(params: PyTree, tokens: Tokens) -> jax.Array:
        maps, _ = attend.apply(params, state, tokens, train=False)
        rolled = attention_rollout(maps, where=tokens.mask)
        # What the head reads: the first token, or the mean of all that are there.
        return rolled[:, 0] if first else rolled.sum(1)

    scores, shares = (np.asarray(function(params, tokens)) for function in (attribute, lead_back))
    # Tokens that stand for no word may have most of the attention; beside them words look alike.
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    attributed, led_back = [], []
    for i, title in enumerate(_titles(texts, places, logits)):
        ids = np.asarray(tokens.ids[i])[np.asarray(tokens.mask[i])]
        words = [tokenizer.id_to_token(int(token)) or "?" for token in ids]
        attributed.append(TextSaliency(title, words, scores[i, : len(words)]))
        kept = [place for place, word in enumerate(words) if word not in special]
        if len(kept) < len(words):
            title += f"; {shares[i, kept].sum() / shares[i].sum():.0%} goes back to these words"
        led_back.append(TextSaliency(title, [words[place] for place in kept], shares[i, kept]))
    text_saliency(attributed, folder / "saliency.png", title=GRADIENTS)
    text_saliency(led_back, folder / "rollout.png", title=ROLLOUT, signed=False)


def draw_images(
    folder: Path,
    build: Callable[[nnx.Rngs], nnx.Module],
    params: PyTree,
    state: PyTree,
    images: Domain,
    prepare: Callable[[jax.Array], jax.Array],
    places: np.ndarray,
    logits: np.ndarray,
) -> None:
    """Draws ``saliency.png`` of some images of the test, and of a ``ViT`` also ``rollout.png``.

    Args:
      folder: for the pictures.
      build: the module, an ``ImageClassifier``.
      params, state: its.
      images: with a test.
      prepare: from stored images to what the network takes.
      places: of what is drawn.
      logits: ``[n, classes]``, of the whole test.
    """
    draw_saliency(
        from_nnx(build), images, folder / "saliency.png", params, state, places, logits,
        prepare=prepare,
    )  # fmt: skip
    module = nnx.eval_shape(lambda: build(nnx.Rngs(0)))
    if not isinstance(module, ImageClassifier) or not isinstance(module.encoder, ViT):
        return
    sizes = module.encoder.config
    attend = from_nnx(build, call=lambda module, x: module.encoder.attention_maps(x))

    @jax.jit
    def lead_back(params: PyTree, x: jax.Array) -> jax.Array:
        maps, _ = attend.apply(params, state, prepare(x), train=False)
        patches = attention_rollout(maps)[:, 0, 1:]  # the head reads the token of the class
        side = sizes.image_size // sizes.patch
        return patches.reshape(-1, side, side)

    stored = images.test.x[places]
    shares = np.asarray(lead_back(params, jnp.asarray(stored)))
    titles = _titles(images, places, logits)
    rows = [ImageSaliency(*row) for row in zip(titles, stored, shares, strict=True)]
    image_saliency(rows, folder / "rollout.png", title=ROLLOUT, signed=False)


def draw_saliency(
    network: Network,
    domain: Domain,
    out_png: Path,
    params: PyTree,
    state: PyTree,
    places: np.ndarray,
    logits: np.ndarray,
    *,
    prepare: Callable[[jax.Array], jax.Array],
    upright: Callable[[np.ndarray], np.ndarray] = lambda x: x,
    title: str = GRADIENTS,
) -> None:
    """Draws which places of images, or of spectrograms, predictions turned on.

    Attributions are integrated gradients from an example's mean: what has no shape.

    Args:
      network: gives logits.
      domain: its test is drawn from.
      out_png: the picture to write.
      params, state: of the network.
      places: of what is drawn.
      logits: ``[n, classes]``, of the whole test.
      prepare: from examples as they are stored to what the network takes, ``[n, height, width]`` or
        with channels.
      upright: from an example, or its attributions ``[height, width]``, to how it is drawn.
      title: stands above.
    """
    stored, chosen = domain.test.x[places], jnp.asarray(logits[places].argmax(1))

    @jax.jit
    def attribute(params: PyTree, x: jax.Array) -> jax.Array:
        x = prepare(x)

        def score(x: jax.Array) -> jax.Array:
            output, _ = network.apply(params, state, x, train=False)
            return jnp.take_along_axis(output.logits, chosen[:, None], axis=1)[:, 0]

        baseline = jnp.mean(x, axis=(1, 2), keepdims=True)
        attributions = integrated_gradients(score, x, baseline=baseline)[0]
        return attributions.reshape(*x.shape[:3], -1).sum(-1)

    scores = np.asarray(attribute(params, jnp.asarray(stored)))
    rows = [
        ImageSaliency(name, upright(example), upright(each))
        for name, example, each in zip(
            _titles(domain, places, logits), stored, scores, strict=True
        )
    ]  # fmt: skip
    image_saliency(rows, out_png, title=title)


def _titles(domain: Domain, places: np.ndarray, logits: np.ndarray) -> list[str]:
    """What was predicted, and whether that is right or what is."""
    found, truth = logits[places].argmax(1), np.asarray(domain.test.y)[places]
    return [
        f"{domain.classes[guess]}, "
        f"{'right' if guess == label else f'truly {domain.classes[label]}'}"
        for guess, label in zip(found, truth, strict=True)
    ]
