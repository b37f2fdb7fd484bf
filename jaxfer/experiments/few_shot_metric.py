"""Few-shot methods that compare features: with a fixed head, a learned one, or a second network."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxfer import meta
from jaxfer.experiments.few_shot import (
    MOST_WAY,
    FewShotMethod,
    Problem,
    embedding,
    features_of,
    functions,
    numbers,
    on_episodes,
    one_of,
    together,
)
from jaxfer.models import RelationEncoder, RelationModule, from_nnx
from jaxfer.typing import Key, LabelledBatch, Metrics, PyTree


def metric(problem: Problem, head: Callable[..., jax.Array], **options: Any) -> FewShotMethod:
    """A network and a head without parameters of its own, trained on episodes."""
    network = embedding(problem.config)
    way = problem.config.train_way

    def answer(way: int) -> meta.Answer:
        this = partial(head, classes=way, **options)
        return meta.answer_by_features(network.apply, lambda _: this)

    return on_episodes(problem, network.init, answer, way)


def full_context(
    problem: Problem, similarity: meta.Similarity = "cosine", scale: float = 10.0
) -> FewShotMethod:
    """Matching networks with full-context embeddings."""
    config = problem.config
    network, context = embedding(config), meta.full_context(features_of(config))
    parts = {"embedding": network, "context": functions(context.init)}

    def answer(way: int) -> meta.Answer:
        def head_from(params: PyTree) -> meta.Head:
            def head(support: Any, labels: Any, query: Any) -> jax.Array:
                support, query = context.apply(params["context"], support, query)
                return meta.matching(
                    support, labels, query, classes=way, similarity=similarity, scale=scale
                )

            return head

        return meta.answer_by_features(one_of("embedding", network), head_from)

    # The LSTM reads a support example after the other: a long episode is a long program.
    way = min(config.train_way, max(MOST_WAY, problem.test_way))
    return on_episodes(problem, together(**parts), answer, way)


def ridge(problem: Problem) -> FewShotMethod:
    """R2-D2: a ridge regression whose three numbers are learned."""
    network = embedding(problem.config)
    init = together(embedding=network, ridge=numbers(log_strength=0.0, log_scale=1.0, shift=0.0))

    def answer(way: int) -> meta.Answer:
        def head_from(params: PyTree) -> meta.Head:
            learned = params["ridge"]
            return partial(
                meta.ridge, classes=way, strength=jnp.exp(learned["log_strength"]),
                scale=jnp.exp(learned["log_scale"]), shift=learned["shift"],
            )  # fmt: skip

        return meta.answer_by_features(one_of("embedding", network), head_from)

    return on_episodes(problem, init, answer, problem.config.train_way)


def relation(problem: Problem) -> FewShotMethod:
    """Relation networks: feature maps, and a second network that judges pairs of them."""
    config = problem.config
    encoder = from_nnx(lambda rngs: RelationEncoder(width=config.width, rngs=rngs))
    module = from_nnx(
        lambda rngs: RelationModule(
            features=2 * config.width, width=config.width, size=config.image_size // 4, rngs=rngs
        )
    )
    embed, judge = one_of("encoder", encoder), one_of("module", module)

    def answer(way: int) -> meta.Answer:
        def answer(
            params: PyTree,
            state: PyTree,
            support: LabelledBatch,
            x: PyTree,
            *,
            train: bool,
            key: Key | None = None,
        ) -> tuple[jax.Array, PyTree]:
            shown, asked, state = meta.embed_both(
                embed, params, state, support.x, x, train=train, key=key
            )
            pairs = meta.relation_pairs(shown, support.y, asked, classes=way)
            scores, state = judge(params, state, pairs, train=train, key=key)
            return scores.reshape(len(asked), way), state

        return answer

    # Each query is judged beside each class: 20 of them are as many pairs as a step can take.
    way = min(config.train_way, max(MOST_WAY, problem.test_way))
    init = together(encoder=encoder, module=module)
    return on_episodes(problem, init, answer, way, meta.relation_loss)


def contrasted(
    problem: Problem,
    loss: Callable[..., jax.Array],
    distance: meta.Distance = "euclidean",
    **options: Any,
) -> FewShotMethod:
    """A loss of pairs or triplets of an episode's images, answered by the nearest class mean."""
    network = embedding(problem.config)

    def loss_fn(
        params: PyTree, state: PyTree, batch: LabelledBatch, key: Key | None
    ) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
        features, state = network.apply(params, state, batch.x, train=True, key=key)
        return loss(features, batch.y, **options), (state, {})

    def answers(way: int) -> dict[str, meta.Answer]:
        head = partial(meta.nearest_centroid, classes=way, distance=distance)
        return {problem.name: meta.answer_by_features(network.apply, lambda _: head)}

    return FewShotMethod(network.init, meta.pretrained(loss_fn), answers, problem.config.train_way)
