"""One online pass over characters that come one after the other, and what is known after it."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxfer import meta
from jaxfer.data.episodes import distinct, to_floats
from jaxfer.experiments.maml_omniglot import Arrays, Judged
from jaxfer.models import Network
from jaxfer.typing import Key, LabelledBatch, Metrics, PyTree


class Networks(NamedTuple):
    """The two networks, and as many outputs as any part of the split has characters."""

    representation: Network
    prediction: Network

    def init(self, key: Key) -> tuple[PyTree, PyTree]:
        """Parameters of both by their names; there is no state."""
        keys = jax.random.split(key)
        names = ("representation", "prediction")
        started = zip(names, self, keys, strict=True)
        return {name: network.init(k)[0] for name, network, k in started}, {}

    def represent(
        self, params: PyTree, state: PyTree, x: PyTree, *, train: bool, key: Key | None = None
    ) -> tuple[jax.Array, PyTree]:
        """Features of images by the representation network's own parameters."""
        return self.representation.apply(params, state, x, train=train, key=key)

    def predict(self, params: PyTree, features: jax.Array) -> jax.Array:
        """Logits of features by the prediction network's own parameters."""
        return self.prediction.apply(params, {}, features, train=False)[0]

    def prediction_loss(
        self, params: PyTree, state: PyTree, batch: LabelledBatch, key: Key | None
    ) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
        """Mean cross-entropy of features."""
        loss, metrics = meta.classification_loss(self.predict(params, batch.x), batch.y)
        return loss, (state, metrics)

    def loss(
        self, params: PyTree, state: PyTree, batch: LabelledBatch, key: Key | None
    ) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
        """Mean cross-entropy of images, by both networks."""
        features, _ = self.represent(params["representation"], {}, batch.x, train=True)
        return self.prediction_loss(params["prediction"], state, batch._replace(x=features), key)


class Pass(NamedTuple):
    """Which passes: over which part of the split, asked when, of how many images, by which seed."""

    part: Literal["validation", "test"]
    counts: tuple[int, ...]
    shot: int
    seed: int
    rates: tuple[float, ...]


def make_judge(
    networks: Networks, passes: Pass, *, learn_all: bool
) -> Callable[[Judged, Arrays, jax.Array], Metrics]:
    """Accuracy after one online pass, by rate and number of characters, ``[rates, counts]``."""

    def judge(judged: Judged, arrays: Arrays, index: jax.Array) -> Metrics:
        key = jax.random.fold_in(jax.random.PRNGKey(passes.seed), index)
        class_key, drawing_key, head_key = jax.random.split(key, 3)
        classes = jnp.asarray(getattr(arrays.classes, passes.part))
        most, examples = passes.counts[-1], arrays.images.shape[1]
        chosen = classes[distinct(class_key, (), classes.shape[0], most)]
        drawings = distinct(drawing_key, (most,), examples, examples)
        params = judged.params["params"]

        def look(number: jax.Array) -> jax.Array:
            """All images of one character, or what the representation makes of them."""
            x = to_floats(arrays.images[chosen[number], drawings[number]])
            if learn_all:
                return x
            return networks.represent(params["representation"], {}, x, train=False)[0]

        seen = jax.lax.map(look, jnp.arange(most))  # [classes, examples, ...]
        labels = jnp.broadcast_to(jnp.arange(most)[:, None], (most, examples))
        prediction = meta.reset_columns()(
            params["prediction"], jnp.arange(params["prediction"]["head"]["bias"].shape[0]),
            head_key,
        )  # fmt: skip
        begun = {**params, "prediction": prediction} if learn_all else prediction

        def learn(params: PyTree, batch: LabelledBatch, rate: jax.Array) -> PyTree:
            if learn_all:
                rule = optax.sgd(rate)
                return meta.learn_online(networks.loss, params, {}, batch, rule=rule).params
            return meta.learn_online_mlp(params, {}, batch, rate=rate).params

        def flat(low: int, high: int, held_out: bool) -> LabelledBatch:
            which = slice(passes.shot, None) if held_out else slice(passes.shot)
            x, y = seen[low:high, which], labels[low:high, which]
            return LabelledBatch(x.reshape(-1, *x.shape[2:]), y.reshape(-1))

        def accuracy(learned: PyTree, batch: LabelledBatch) -> jax.Array:
            """By one character's images at a time, so that many of them need little memory."""

            def right(part: LabelledBatch) -> jax.Array:
                x = part.x[None]
                if learn_all:
                    x, _ = networks.represent(learned["representation"], {}, x, train=False)
                own = learned["prediction"] if learn_all else learned
                return jnp.argmax(networks.predict(own, x), -1)[0] == part.y

            return jnp.mean(jax.lax.map(right, batch, batch_size=100))

        def with_rate(rate: jax.Array) -> Metrics:
            learned, held_out, trajectory = begun, [], []
            for low, high in zip((0, *passes.counts[:-1]), passes.counts, strict=True):
                learned = learn(learned, flat(low, high, held_out=False), rate)
                held_out.append(accuracy(learned, flat(0, high, held_out=True)))
                trajectory.append(accuracy(learned, flat(0, high, held_out=False)))
            return {"accuracy": jnp.stack(held_out), "trajectory": jnp.stack(trajectory)}

        return jax.lax.map(with_rate, jnp.asarray(passes.rates))

    return judge
