"""LoRA, bottlenecks and prompts inside networks: nothing at first, and little to train."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxfer.adapters import by_pattern, count_parameters, merge, partition
from jaxfer.models import (
    BertConfig,
    Conv,
    Linear,
    TextClassifier,
    adapter_of,
    add_bottlenecks,
    add_low_rank,
    fold_low_rank,
    from_nnx,
    read_peft,
    with_adapter,
    write_peft,
    write_tensors,
)
from jaxfer.typing import Tokens, UserError

SMALL = BertConfig(vocabulary=30, width=16, layers=2, heads=2, hidden=32, positions=8)
IDS = np.array([[2, 7, 3, 9, 4], [5, 6, 1, 0, 0]])
TOKENS = Tokens(IDS, IDS > 0)
QUERIES = ("*/attention/query", "*/attention/value")


def classifier(rngs, **options):
    return TextClassifier(SMALL, classes=3, rngs=rngs, **options)


def logits_of(network, params):
    return jax.jit(lambda params: network.apply(params, {}, TOKENS, train=False)[0].logits)(params)


def started(network, *really):
    """Parameters: drawn by NumPy, which compiles nothing, but those of some paths as they begin."""
    draw = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: draw.normal(0, 0.3, leaf.shape).astype(leaf.dtype),
        jax.eval_shape(network.init, jax.random.key(0))[0],
    )
    if not really:
        return params
    mask = by_pattern(*really)
    begun = jax.jit(lambda key: partition(network.init(key)[0], mask)[0])(jax.random.key(1))
    return merge(begun, partition(params, mask)[1])


def overlaid(new, old):
    if not isinstance(new, dict):
        return old
    return {k: overlaid(v, old[k]) if k in old else v for k, v in new.items()}


@pytest.fixture(scope="module")
def plain():
    network = from_nnx(classifier)
    params = started(network)
    return network, params, np.asarray(logits_of(network, params))


def test_factors_begin_as_nothing_and_fold_into_the_weights(plain):
    network, params, expected = plain
    lora = from_nnx(
        lambda rngs: add_low_rank(classifier(rngs), *QUERIES, rank=2, alpha=8.0, rngs=rngs)
    )
    adapted = overlaid(started(lora, "*/low_rank/*"), params)
    np.testing.assert_allclose(logits_of(lora, adapted), expected, atol=1e-6)
    mask = by_pattern("*/low_rank/*", "head/*")
    trained, frozen = partition(adapted, mask)
    assert count_parameters(trained) == 2 * 2 * 2 * (16 + 16) + 16 * 3 + 3
    moved = merge(jax.tree.map(lambda leaf: leaf + 0.3, trained), frozen)
    found = logits_of(lora, moved)
    assert np.abs(found - expected).max() > 0.1
    folded = fold_low_rank(moved, alpha=8.0)
    assert jax.tree.structure(folded) == jax.tree.structure(params)
    np.testing.assert_allclose(logits_of(network, folded), found, rtol=1e-4, atol=1e-5)


def test_no_gradient_of_a_whole_weight_is_formed():
    width = 256

    def build(rngs):
        return add_low_rank(
            nnx.Sequential(*[Linear(width, width, rngs=rngs) for _ in range(4)]),
            "*",
            rank=4,
            rngs=rngs,
        )

    network = from_nnx(build)
    params = started(network)
    trained, frozen = partition(params, by_pattern("*/low_rank/*"))
    x = np.ones((64, width), np.float32)

    def loss(trained, frozen):
        return jnp.sum(network.apply(merge(trained, frozen), {}, x, train=True)[0] ** 2)

    def operations(f):
        return jax.jit(f).lower(trained, frozen).compile().cost_analysis()["flops"]

    forward, thin = operations(loss), operations(jax.grad(loss))
    # Forward, and back through the activations alone: a weight's gradient would be a third product.
    assert thin < 2.3 * forward
    whole = operations(jax.grad(loss, argnums=(0, 1)))
    assert whole > 2.7 * forward


def test_convolutions_have_factors_too():
    network = from_nnx(
        lambda rngs: add_low_rank(
            nnx.Sequential(Conv(2, 6, strides=(2, 2), rngs=rngs)), "*", rank=3, alpha=6.0, rngs=rngs
        )
    )
    params = started(network)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    x = np.random.default_rng(0).normal(size=(2, 7, 7, 2)).astype(np.float32)
    plain = from_nnx(lambda rngs: nnx.Sequential(Conv(2, 6, strides=(2, 2), rngs=rngs)))
    expected, _ = plain.apply(fold_low_rank(params, alpha=6.0), {}, x, train=False)
    found, _ = network.apply(params, {}, x, train=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_bottlenecks_begin_as_the_identity(plain):
    _, params, expected = plain
    network = from_nnx(lambda rngs: add_bottlenecks(classifier(rngs), size=4, rngs=rngs))
    adapted = overlaid(started(network, "*_adapter/*"), params)
    np.testing.assert_allclose(logits_of(network, adapted), expected, atol=1e-6)
    count = count_parameters(partition(adapted, by_pattern("*_adapter/*"))[0])
    assert count == 2 * 2 * (16 * 4 + 4 + 4 * 16 + 16)
    draw = np.random.default_rng(0)  # not the same for all: the normalisation would take it out
    moved = jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            leaf + 0.2 * ("adapter" in jax.tree_util.keystr(path)) * draw.normal(size=leaf.shape)
        ),
        adapted,
    )
    assert np.abs(logits_of(network, moved) - expected).max() > 1e-2


def test_a_prompt_is_seen_by_every_token_and_given_back_by_none(plain):
    _, params, expected = plain
    network = from_nnx(lambda rngs: classifier(rngs, prompt=3))
    new = started(network)
    assert new["encoder"]["prompt"].shape == (3, 16)
    prompted = overlaid(new, params)
    taps = from_nnx(lambda rngs: classifier(rngs, prompt=3), call=lambda m, x: m.encoder(x)).apply(
        prompted, {}, TOKENS, train=False
    )[0]
    assert taps.shape == (2, 5, 16)
    assert np.abs(logits_of(network, prompted) - expected).max() > 1e-4


def test_the_frozen_part_is_still_in_training():
    network = from_nnx(classifier, frozen=("encoder",))
    params = started(network)

    def features(key, train):
        return network.apply(params, {}, TOKENS, train=train, key=jax.random.key(key))[0].features

    assert np.array_equal(features(1, True), features(2, True))
    assert np.array_equal(features(1, True), features(1, False))
    free = from_nnx(classifier)
    drawn = [free.apply(params, {}, TOKENS, train=True, key=jax.random.key(k))[0] for k in (1, 2)]
    assert not np.array_equal(drawn[0].features, drawn[1].features)
    with pytest.raises(ValueError, match="frozen pattern 'body' matches no module; there are"):
        from_nnx(classifier, frozen=("body",))


def test_what_padding_holds_is_of_no_account(plain):
    network, params, expected = plain
    other = Tokens(np.where(IDS > 0, IDS, 13), IDS > 0)
    found = network.apply(params, {}, other, train=False)[0].logits
    np.testing.assert_allclose(found, expected, atol=1e-6)
    short = Tokens(IDS[1:, :3], IDS[1:, :3] > 0)
    found = network.apply(params, {}, short, train=False)[0].logits
    np.testing.assert_allclose(found[0], expected[1], atol=1e-6)
    with pytest.raises(ValueError, match="texts of 9 tokens are longer than the 8 positions"):
        network.apply(params, {}, Tokens(np.ones((1, 9), int), np.ones((1, 9), bool)), train=False)


def test_pefts_files_are_written_and_read(plain, tmp_path):
    _, params, _ = plain
    lora = from_nnx(lambda rngs: add_low_rank(classifier(rngs), *QUERIES, rank=2, rngs=rngs))
    adapted = jax.tree.map(lambda leaf: leaf + 0.1, started(lora))
    adapter = adapter_of(adapted["encoder"], alpha=8.0)
    assert adapter.rank == 2 and len(adapter.factors) == 4
    write_peft(tmp_path, adapter, base_model="mine")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["r"] == 2 and config["target_modules"] == ["query", "value"]
    back = read_peft(tmp_path, [*adapter.factors, "block0/up"])
    assert back.alpha == 8.0 and back.factors.keys() == adapter.factors.keys()
    put = with_adapter(params["encoder"], back)
    for layer in ("query", "value"):
        for name in ("down", "up"):
            mine = adapted["encoder"]["block1"]["attention"][layer]["low_rank"][name]
            assert np.array_equal(put["block1"]["attention"][layer]["low_rank"][name], mine)
    with pytest.raises(
        UserError, match="has tensors that belong to no layer: base_model.model.enc"
    ):
        read_peft(tmp_path, ["block0/attention/query"])
    config["peft_type"] = "IA3"
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="is of the kind IA3; LORA can be read"):
        read_peft(tmp_path, list(adapter.factors))
    config |= {"peft_type": "LORA", "r": 4}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="has not the rank 4"):
        read_peft(tmp_path, list(adapter.factors))
    with pytest.raises(ValueError, match="factors of one rank"):
        adapter_of(params, alpha=1.0)
    with pytest.raises(ValueError, match="params have no layer"):
        with_adapter({}, adapter)
    write_tensors(tmp_path / "adapter_model.safetensors", {"odd": np.ones(1)})


def test_patterns_that_match_nothing_are_refused():
    with pytest.raises(
        ValueError, match="pattern 'key' matches no layer; there are encoder/block0"
    ):
        add_low_rank(classifier(nnx.Rngs(0)), "key", rank=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="rank must be from 1 to 16"):
        add_low_rank(classifier(nnx.Rngs(0)), "*/query", rank=17, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="size must be at least 1"):
        add_bottlenecks(classifier(nnx.Rngs(0)), size=0, rngs=nnx.Rngs(0))
