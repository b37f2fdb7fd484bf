"""Few-shot methods that adapt weights, read the support set by a black box, or neither."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from jaxfer import meta
from jaxfer.experiments.few_shot import (
    MOST_WAY,
    FewShotMethod,
    Problem,
    classification_loss_of,
    embedding,
    features_of,
    on_episodes,
    one_of,
    together,
    with_linear,
)
from jaxfer.models import Mlp, Snail, from_nnx
from jaxfer.typing import Key, LabelledBatch, Metrics, PyTree

FINE_TUNING_RATE = 1e-3
FINE_TUNING_STEPS = 50


def proto_maml(problem: Problem) -> FewShotMethod:
    """Proto-MAML, by the batch statistics of the support set."""
    config = problem.config
    # What the support set's statistics are must not depend on what was recorded before.
    network = embedding(config, momentum=0.0, per_task=True)
    embed = one_of("embedding", network)
    logits = with_linear(embed)

    def answer(way: int) -> meta.Answer:
        learner = meta.proto_maml(
            classification_loss_of(logits, train=True),
            query_loss_fn=classification_loss_of(logits, train=False),
            embed=embed, classes=way, rule=optax.sgd(config.inner_rate), steps=config.inner_steps,
            gradient="stop" if config.first_order else "through",
        )  # fmt: skip
        adapting = meta.answer_by_adapting(learner, logits)

        def answer(
            params: PyTree,
            state: PyTree,
            support: LabelledBatch,
            x: PyTree,
            *,
            train: bool,
            key: Key | None = None,
        ) -> tuple[Any, PyTree]:
            # In training too a query is seen by what the support set recorded.
            return adapting(params, state, support, x, train=False, key=key)

        return answer

    way = min(config.train_way, max(MOST_WAY, problem.test_way))
    return on_episodes(problem, together(embedding=network), answer, way)


def neural_process(problem: Problem) -> FewShotMethod:
    """A conditional neural process, whose decoder has a place for each class of an episode."""
    config, way = problem.config, problem.test_way
    network, features = embedding(config), features_of(config)
    decoder = from_nnx(
        lambda rngs: Mlp([(1 + way) * features, 4 * features, 4 * features, way], rngs=rngs)
    )

    def answer(_: int) -> meta.Answer:
        def head_from(params: PyTree) -> meta.Head:
            def decode(both: jax.Array) -> jax.Array:
                return decoder.apply(params["decoder"], {}, both, train=False)[0]

            return partial(meta.class_summaries, classes=way, decode=decode)

        return meta.answer_by_features(one_of("embedding", network), head_from)

    init = together(embedding=network, decoder=decoder)
    return on_episodes(problem, init, answer, way, only_this_way=True)


def snail(problem: Problem) -> FewShotMethod:
    """SNAIL: the support set and then the query, read as a sequence."""
    config, way = problem.config, problem.test_way
    network, features = embedding(config), features_of(config)
    reader = from_nnx(
        lambda rngs: Snail(
            in_features=features + way, out_features=way,
            length=way * problem.most_shots + 1,
            filters=2 * config.width, rngs=rngs,
        )
    )  # fmt: skip

    def answer(_: int) -> meta.Answer:
        return meta.answer_by_sequence(
            one_of("embedding", network), one_of("reader", reader), classes=way
        )

    init = together(embedding=network, reader=reader)
    return on_episodes(problem, init, answer, way, only_this_way=True)


def supervised(problem: Problem) -> FewShotMethod:
    """Plain supervision by all training classes; then SimpleShot, a linear probe, fine-tuning."""
    config = problem.config
    network, features = embedding(config), features_of(config)
    linear = from_nnx(lambda rngs: nnx.Linear(features, problem.classes, rngs=rngs))
    embed = one_of("embedding", network)
    # The same network, its convolutions so that they stay fast with weights of each task's own.
    logits = with_linear(one_of("embedding", embedding(config, per_task=True)))

    def init(key: Key) -> tuple[PyTree, PyTree]:
        params, state = together(embedding=network, head=linear)(key)
        return params, {**state, "mean": jnp.zeros(features)}

    def loss_fn(
        params: PyTree, state: PyTree, batch: LabelledBatch, key: Key | None
    ) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
        x, state = embed(params, state, batch.x, train=True, key=key)
        output = x @ params["head"]["kernel"] + params["head"]["bias"]
        loss, metrics = meta.classification_loss(output, batch.y)
        # SimpleShot's mean of the training features, as they come by.
        mean = 0.99 * state["mean"] + 0.01 * jax.lax.stop_gradient(jnp.mean(x, 0))
        return loss, ({**state, "mean": mean}, metrics)

    def simple_shot(way: int) -> meta.Answer:
        def answer(
            params: PyTree,
            state: PyTree,
            support: LabelledBatch,
            x: PyTree,
            *,
            train: bool,
            key: Key | None = None,
        ) -> tuple[jax.Array, PyTree]:
            head = partial(meta.simple_shot, classes=way, mean=state["mean"])
            by_mean = meta.answer_by_features(embed, lambda _: head)
            return by_mean(params, state, support, x, train=train, key=key)

        return answer

    def fine_tuning(way: int) -> meta.Answer:
        """A new linear layer that begins at 0, and all weights by Adam; running statistics stay."""
        learner = meta.maml(
            classification_loss_of(logits, train=False), rule=optax.adam(FINE_TUNING_RATE),
            steps=FINE_TUNING_STEPS, gradient="stop",
        )  # fmt: skip
        adapting = meta.answer_by_adapting(learner, logits)

        def answer(
            params: PyTree,
            state: PyTree,
            support: LabelledBatch,
            x: PyTree,
            *,
            train: bool,
            key: Key | None = None,
        ) -> tuple[jax.Array, PyTree]:
            head = {"kernel": jnp.zeros((features, way)), "bias": jnp.zeros(way)}
            return adapting({**params, "head": head}, state, support, x, train=False, key=key)

        return answer

    def answers(way: int) -> dict[str, meta.Answer]:
        probe = partial(meta.linear_probe, classes=way)
        return {
            "simple-shot": simple_shot(way),
            "linear-probe": meta.answer_by_features(embed, lambda _: probe),
            "fine-tuning": fine_tuning(way),
        }

    return FewShotMethod(init, meta.pretrained(loss_fn), answers, 0)
