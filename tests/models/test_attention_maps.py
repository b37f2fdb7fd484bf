"""Attention as networks hand it out is what their outputs were mixed by, token for token."""

import jax
import numpy as np
import pytest
from flax import nnx

from jaxfer.models import Bert, BertConfig, ViT, ViTConfig, from_nnx
from jaxfer.models.transformer import Attention
from jaxfer.typing import Tokens

from .encoders import dense, random_numbers, sizes

BERT = BertConfig(vocabulary=9, width=8, layers=2, heads=2, hidden=12, positions=6)
VIT = ViTConfig(image_size=8, patch=4, width=8, layers=2, heads=2, hidden=12)
IDS = np.array([[2, 3, 4, 0], [5, 6, 7, 8]], np.int32)
TOKENS = Tokens(IDS, IDS > 0)
IMAGES = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)


def normalised(x, layer, epsilon):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return x * layer["scale"] + layer["bias"]


def mixed(weights, x, attention):
    """The attention's output from its weights, a head at a time."""
    values = np.split(dense(x, attention["value"]), weights.shape[1], axis=-1)
    heads = [weights[:, head] @ value for head, value in enumerate(values)]
    return dense(np.concatenate(heads, axis=-1), attention["output"])


def feed_forward(x, block):
    hidden = np.asarray(jax.nn.gelu(dense(x, block["up"]), approximate=False), np.float64)
    return dense(hidden, block["down"])


def through_bert(x, weights, block):
    x = normalised(x + mixed(weights, x, block["attention"]), block["attention_norm"], 1e-12)
    return normalised(x + feed_forward(x, block), block["output_norm"], 1e-12)


def through_vit(x, weights, block):
    x = x + mixed(weights, normalised(x, block["attention_norm"], 1e-6), block["attention"])
    return x + feed_forward(normalised(x, block["output_norm"], 1e-6), block)


def bert(prompt):
    return (
        lambda rngs: Bert(BERT, prompt=prompt, rngs=rngs),
        lambda module, x: module.encode(module.embed(x), x.mask),
        TOKENS,
        through_bert,
    )


def vit():
    return lambda rngs: ViT(VIT, rngs=rngs), lambda module, x: module.taps(x), IMAGES, through_vit


@pytest.mark.parametrize(
    ("build", "taps", "x", "through"), [bert(0), bert(2), vit()], ids=["bert", "prompted", "vit"]
)
def test_weights_times_values_are_the_outputs(build, taps, x, through):
    network = from_nnx(build, call=lambda module, x: (taps(module, x), module.attention_maps(x)))
    params, state = sizes(network)
    params = random_numbers(params, scale=0.5)
    found, maps = jax.jit(lambda params: network.apply(params, state, x, train=False)[0])(params)
    maps = np.asarray(maps)
    prompts = params.get("prompt", np.zeros((0, 8), np.float32))
    before = np.broadcast_to(prompts, (2, *prompts.shape))
    running = np.concatenate([before, found["embedded"]], axis=1).astype(np.float64)
    assert maps.shape == (2, 2, 2, running.shape[1], running.shape[1])
    np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-5)
    for i in range(2):
        running = through(running, maps[i], params[f"block{i}"])
        after = running[:, len(prompts) :]
        np.testing.assert_allclose(found[f"block{i}"], after, rtol=1e-4, atol=1e-4)
    assert np.abs(maps - 1 / maps.shape[-1]).max() > 0.1  # no map that any network would have
    if isinstance(x, Tokens):
        assert not maps[:, 0, :, :, len(prompts) + 3].any()  # padding
        assert maps[:, 1, :, :, len(prompts) + 3].all()


def test_weights_times_values_are_an_attentions_output():
    attention = Attention(8, 2, rngs=nnx.Rngs(0))
    x = np.random.default_rng(0).normal(size=(2, 4, 8)).astype(np.float32)
    params = nnx.to_pure_dict(nnx.state(attention, nnx.Param))
    weights = np.asarray(attention.weights(x, TOKENS.mask))
    np.testing.assert_allclose(
        attention(x, TOKENS.mask), mixed(weights, x, params), rtol=1e-4, atol=1e-5
    )


def test_one_program_for_both_computes_each_weight_once():
    network = from_nnx(lambda rngs: Bert(BERT, rngs=rngs))
    both = from_nnx(
        lambda rngs: Bert(BERT, rngs=rngs),
        call=lambda module, x: (module(x), module.attention_maps(x)),
    )
    params, state = sizes(network)

    def lowered(network):
        function = jax.jit(lambda params: network.apply(params, state, TOKENS, train=False)[0])
        return function.lower(params)

    def products(text):
        return text.count("dot(")

    alone, together = (lowered(each).compile().as_text() for each in (network, both))
    assert products(together) == products(alone) > 0
