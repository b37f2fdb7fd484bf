# %% [markdown]
# # 1 · Pure losses in your own JAX loop
#
# You have a network, an optimiser and a loop that you like, and want one more term in the
# objective. Here it is a function of arrays: no trainer to inherit from, no hook, no hidden state.
# It goes into bare pytrees, Flax NNX and Linen alike.
#
# **The problem.** Two classes, drawn as two moons. The *source* has labels. The *target* is the
# same picture, turned by 35°; its labels serve to measure below, never to train.

# %%
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import linen, nnx

from jaxfer import entropy, mmd
from jaxfer.report.style import BLUE, GREY, VERMILION

SMALL = bool(os.environ.get("JAXFER_SMALL"))  # the tests run a shorter version
STEPS = 400 if SMALL else 1000
plt.rcParams.update({"figure.dpi": 72, "axes.spines.top": False, "axes.spines.right": False})


def moons(seed: int, degrees: float, points: int = 200) -> tuple[jax.Array, jax.Array]:
    """Two half circles, turned around the origin."""
    rng = np.random.default_rng(seed)
    labels, t = np.arange(points) % 2, rng.uniform(0, np.pi, points)
    sign = 1 - 2 * labels
    x = np.stack([sign * (np.cos(t) - 0.5), sign * (np.sin(t) - 0.25)], 1)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    x = (x + 0.1 * rng.normal(size=x.shape)) @ np.array([[c, s], [-s, c]])
    return jnp.asarray(x, jnp.float32), jnp.asarray(labels)


(source, labels), (target, hidden_labels) = moons(0, 0), moons(1, 35)

# %% [markdown]
# ## The idea
#
# A network is features $f$ followed by a linear head. If the features of both domains are
# distributed alike, a head that is right on one has reason to be right on the other. So pay for
# the difference: minimise
#
# $$ L = \underbrace{-\frac1n \sum_i \ln p_{y_i}(x_i)}_{\text{source labels}}
#      + \lambda\, \underbrace{\mathrm{MMD}^2\big(f(x),\, f(x')\big)}_{\text{source and target}} $$
#
# The second term is the maximum mean discrepancy, of which lesson 2 tells. The whole method:


# %%
def objective(source_out, target_out, labels, strength):
    """`*_out` are (features, logits): all that a loss needs to know of your network."""
    supervised = optax.softmax_cross_entropy_with_integer_labels(source_out[1], labels).mean()
    return supervised + strength * mmd(source_out[0], target_out[0])


# %% [markdown]
# ## Bare pytrees
#
# Parameters in a dict, a function, `jax.grad`. The loss does not care that `jit`, `scan` and
# `vmap` stand around it, so the last line trains eight strengths $\lambda$ at once.


# %%
def init(key, width=32):
    k = jax.random.split(key, 3)
    sizes = ((2, width), (width, width), (width, 2))
    return [
        {"w": jax.random.normal(k[i], size) * np.sqrt(2 / size[0]), "b": jnp.zeros(size[1])}
        for i, size in enumerate(sizes)
    ]


def network(params, x):
    *hidden, head = params
    for layer in hidden:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    return x, x @ head["w"] + head["b"]


optimiser = optax.adam(3e-3)


@jax.jit
def train(strength):
    def loss(params):
        return objective(network(params, source), network(params, target), labels, strength)

    def step(carry, _):
        params, opt_state = carry
        value, grads = jax.value_and_grad(loss)(params)
        updates, opt_state = optimiser.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), value

    start = init(jax.random.key(0))
    (params, _), curve = jax.lax.scan(step, (start, optimiser.init(start)), length=STEPS)
    return params, curve


def accuracy(logits):
    return round(float((logits.argmax(-1) == hidden_labels).mean()), 3)


strengths = jnp.array([0, 0.01, 0.03, 0.1, 0.3, 1, 3, 10])
networks, curves = jax.vmap(train)(strengths)
right = [accuracy(logits) for logits in jax.vmap(network, (0, None))(networks, target)[1]]
for strength, share in zip(strengths, right, strict=True):
    print(f"strength {strength:5.2f}   target accuracy {share:.1%}")

# %%
plain, aligned = (jax.tree.map(lambda leaf, i=i: leaf[i], networks) for i in (0, 5))
grid = np.stack(np.meshgrid(np.linspace(-2, 2, 120), np.linspace(-1.7, 1.7, 120)), -1)
figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), width_ratios=(1, 1, 1.1))
for axis, params, title in zip(axes, (plain, aligned), ("source only", "with MMD"), strict=False):
    logits = network(params, grid.reshape(-1, 2))[1].reshape(120, 120, 2)
    axis.contourf(*np.moveaxis(grid, -1, 0), logits[..., 1] - logits[..., 0],
                  levels=[-1e9, 0, 1e9], colors=(BLUE, VERMILION), alpha=0.12)  # fmt: skip
    for x, y, marker in ((source, labels, "."), (target, hidden_labels, "+")):
        axis.scatter(*x.T, c=np.where(y, VERMILION, BLUE), marker=marker, s=14, linewidths=0.7)
    axis.set(title=title, xticks=[], yticks=[])
axes[0].set_xlabel("dots: source; crosses: target")
axes[2].plot(right, "o-", color=GREY)
axes[2].set_xticks(range(len(right)), [f"{strength:g}" for strength in strengths])
axes[2].set(title="target accuracy", xlabel="strength of MMD", ylim=(0.5, 1.02))
plt.tight_layout()
plt.show()

# %% [markdown]
# ## Flax NNX
#
# The same `objective`, word for word. Only the loop is NNX's.


# %%
class Moons(nnx.Module):
    def __init__(self, *, rngs: nnx.Rngs):
        self.first, self.second = nnx.Linear(2, 32, rngs=rngs), nnx.Linear(32, 32, rngs=rngs)
        self.head = nnx.Linear(32, 2, rngs=rngs)

    def __call__(self, x):
        features = jnp.tanh(self.second(jnp.tanh(self.first(x))))
        return features, self.head(features)


@nnx.jit
def nnx_step(model, optimizer, strength):
    def loss(model):
        return objective(model(source), model(target), labels, strength)

    value, grads = nnx.value_and_grad(loss)(model)
    optimizer.update(model, grads)
    return value


nnx_right = {}
for strength in (0.0, 1.0):
    model = Moons(rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
    step = nnx.cached_partial(nnx_step, model, optimizer)
    for _ in range(STEPS):
        step(strength)
    nnx_right[strength] = accuracy(model(target)[1])
print(nnx_right)

# %% [markdown]
# ## Flax Linen
#
# And again. `from_linen` and `from_nnx` in `jaxfer.models` make one signature of both,
# `apply(params, state, x, train=..., key=...)`, for the methods that need to know when they train;
# a loss does not need it.


# %%
class LinenMoons(linen.Module):
    @linen.compact
    def __call__(self, x):
        features = linen.tanh(linen.Dense(32)(linen.tanh(linen.Dense(32)(x))))
        return features, linen.Dense(2)(features)


module = LinenMoons()


@jax.jit
def linen_step(params, opt_state, strength):
    def loss(params):
        outputs = (module.apply(params, x) for x in (source, target))
        return objective(*outputs, labels, strength)

    updates, opt_state = optimiser.update(jax.grad(loss)(params), opt_state)
    return optax.apply_updates(params, updates), opt_state


linen_right = {}
for strength in (0.0, 1.0):
    params = module.init(jax.random.key(0), source)
    opt_state = optimiser.init(params)
    for _ in range(STEPS):
        params, opt_state = linen_step(params, opt_state, strength)
    linen_right[strength] = accuracy(module.apply(params, target)[1])
print(linen_right)

# %% [markdown]
# ## Two kinds of loss
#
# The first line of every docstring says which one it is.
#
# *Per-example* losses return one number an example, not reduced, as in optax: weigh them, mask
# them, average them as you like. *Batch-coupled* ones compare whole samples and return one number;
# they take a weight for each point instead, and a point of weight 0 is absent. So a padded batch
# is the same batch:

# %%
print("entropy:", entropy(jnp.array([[0.0, 0.0], [9.0, 0.0]])))  # ln 2, and nearly 0

padded = jnp.concatenate([target, jnp.full((56, 2), 99.0)])
weights = jnp.arange(256) < 200
print("MMD:", mmd(source, target), "padded:", mmd(source, padded, target_weights=weights * 1.0))

curvature = jax.hessian(lambda shift: mmd(source, target + shift))(jnp.zeros(2))
print("second derivative with respect to a shift:", curvature.round(3).tolist())

# %% [markdown]
# ## Exercise
#
# Replace `mmd` in `objective` by `coral`, `energy_distance` or `sinkhorn_divergence` (the last
# returns `(value, info)`) and find a strength for it *without looking at target labels*:
# `jaxfer.evaluation.information_maximization_score(target_logits)` is larger for predictions that
# are sure and use all classes. Does it pick a strength that the picture agrees with? Then turn the
# target by 60°, and see what no such term can know.

# %%
# What this notebook claims.
assert right[5] > right[0] + 0.15
assert nnx_right[1.0] > nnx_right[0.0] + 0.15 and linen_right[1.0] > linen_right[0.0] + 0.15
np.testing.assert_allclose(mmd(source, target), mmd(source, padded, target_weights=weights * 1.0),
                           rtol=1e-4)  # fmt: skip
assert jnp.isfinite(curves).all() and jnp.isfinite(curvature).all()
