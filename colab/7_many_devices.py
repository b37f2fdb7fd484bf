# %% [markdown]
# # 7 · Many devices: `pmap`, losses of the global batch, resuming
#
# Eight devices, an eighth of the batch on each, gradients averaged: for a loss that is a mean over
# examples that is all there is to it. A loss that compares samples, as the terms of transfer
# learning do, becomes *another loss* that way, and nothing crashes to tell you.
#
# This notebook needs no eight GPUs: a CPU is split into eight host devices, on which the very same
# program runs. On an accelerator it takes the devices that there are.

# %%
import io
import json
import os
import sys
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from jaxfer import mmd
from jaxfer.report.style import BLUE, GREY, VERMILION
from jaxfer.training import Schedule, fit, init_train_state, open_run_folder, replicate
from jaxfer.training.progress import Progress

jax.config.update("jax_num_cpu_devices", 8)  # has to come before JAX is first used
SMALL = bool(os.environ.get("JAXFER_SMALL"))  # the tests run a shorter version
STEPS = 80 if SMALL else 200
plt.rcParams.update({"figure.dpi": 72, "axes.spines.top": False, "axes.spines.right": False})

count = max(n for n in (1, 2, 4, 8) if n <= jax.local_device_count())
devices = jax.local_devices()[:count]
print(count, "devices:", devices[0], "...", devices[-1])

# %% [markdown]
# ## The idea
#
# Split both samples into $K$ shards. The mean of the shards' discrepancies is not the discrepancy
# of the whole,
#
# $$ \frac1K \sum_{k=1}^K \mathrm{MMD}^2(X_k, Y_k) \;\ne\; \mathrm{MMD}^2(X, Y), $$
#
# since the pairs that cross shards are missing, and the smaller the shards the more a sample
# differs from another of its own kind. Every batch-coupled loss of jaxfer therefore takes
# `axis_name=`: with it each device returns the loss of the *global* batch, and its derivative is
# what the usual `pmean` of gradients expects. Points are passed around a ring, so that no device
# ever holds them all.
#
# Two samples of one distribution, hence a true MMD of 0:

# %%
x, y = (jax.random.normal(jax.random.key(seed), (64, 4)) for seed in (0, 1))
shard_counts, per_shard, whole = (1, 2, 4, 8), [], []
for shards in shard_counts:
    split = [z.reshape(shards, -1, 4) for z in (x, y)]
    per_shard.append(float(jax.vmap(mmd)(*split).mean()))
    # `axis_name` is of any mapped axis: vmap's, pmap's or shard_map's.
    coupled = jax.vmap(partial(mmd, axis_name="batch"), axis_name="batch")(*split)
    whole.append(float(coupled.mean()))
    print(f"{shards} shards: mean of the shards {per_shard[-1]:.4f}, global {whole[-1]:.4f}")

# %% [markdown]
# ## `pmap`
#
# On real devices. The objective is one that lessons 1 and 3 train: a mean over examples, plus a
# coupled term. The right gradient takes one `pmean` of all of it:


# %%
def network(params, x):
    features = jnp.tanh(x @ params["w"] + params["b"])
    return features, features @ params["head"]


def init(key, width=16):
    first, second = jax.random.split(key)
    return {
        "w": jax.random.normal(first, (4, width)) / 2,
        "b": jnp.zeros(width),
        "head": jax.random.normal(second, (width, 2)) / 4,
    }


def objective(params, x, labels, y, axis_name=None):
    """The loss of one device's share; the mean over devices is that of the whole batch."""
    (x_features, logits), (y_features, _) = network(params, x), network(params, y)
    local = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return local + mmd(x_features, y_features, axis_name=axis_name)


def on_every_device(params, x, labels, y):
    gradient = jax.grad(objective)(params, x, labels, y, "batch")
    return jax.lax.pmean(gradient, "batch")


labels = jnp.arange(64) % 2
x = x + 2.0 * labels[:, None] * jnp.array([1, 0, 0, 0])  # two classes
y = y + 2.0 * labels[::-1, None] * jnp.array([1, 0, 0, 0]) + jnp.array([0, 1, 0, 0])  # moved
params = init(jax.random.key(0))
shares = [z.reshape(count, 64 // count, *z.shape[1:]) for z in (x, labels, y)]
spread = jax.pmap(on_every_device, axis_name="batch", in_axes=(None, 0, 0, 0), devices=devices)
by_many = jax.tree.map(lambda leaf: leaf[0], spread(params, *shares))
by_one = jax.grad(objective)(params, x, labels, y)
by_shards = jax.vmap(jax.grad(objective), (None, 0, 0, 0))(params, *shares)


def distance(gradient):
    """From the gradient of one device with the whole batch, relative to its length."""
    difference = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), gradient, by_one)
    return float(optax.tree.norm(difference) / optax.tree.norm(by_one))


error, naive_error = distance(by_many), distance(jax.tree.map(lambda g: g.mean(0), by_shards))
print(f"with axis_name: {error:.1e} from the gradient of one device; without: {naive_error:.1%}")

# %% [markdown]
# ## A training that survives
#
# `jaxfer.training` maps one step over devices and repeats it, logs, validates, saves. You write
# the step as one device sees it. Two habits make a run independent of how many devices it has, and
# of whether it was interrupted: the batch is a pure function of seed and step, and nothing else
# is remembered but the state that is saved.

# %%
optimiser = optax.adam(1e-2)
BATCH = 32


def step(run, data):
    """One run, one device's share of its batch."""
    x, labels, y = data
    index = jax.random.randint(jax.random.fold_in(run.key, run.step), (2, BATCH), 0, len(x))
    size = jax.lax.psum(1, "batch")
    i, j = index.reshape(2, size, BATCH // size)[:, jax.lax.axis_index("batch")]
    loss, grads = jax.value_and_grad(objective)(run.params, x[i], labels[i], y[j], "batch")
    loss, grads = jax.lax.pmean((loss, grads), "batch")
    updates, opt_state = optimiser.update(grads, run.opt_state)
    return run._replace(params=optax.apply_updates(run.params, updates), opt_state=opt_state), {
        "loss": loss
    }


class PowerCut(Exception):
    """What happens to machines."""


def train(folder, devices, *, resume=False, cut=False):
    def validate(state):
        if cut and state.step[0] >= STEPS // 2:
            raise PowerCut(f"at step {state.step[0]}, nothing saved since step {STEPS // 4}")
        logits = jax.vmap(network, (0, None))(state.params, x)[1]
        return {"accuracy": (logits.argmax(-1) == labels).mean(-1)}

    every, log = STEPS // 4, sys.stdout if resume else io.StringIO()
    with open_run_folder(folder, {"lesson": 7}, resume=resume) as opened:
        return fit(
            step,
            init_train_state(lambda key: (init(key), {}), optimiser, seeds=[0]),
            replicate((x, labels, y), devices),
            folder=opened,
            schedule=Schedule(
                STEPS, 10, log_every=10, validate_every=every, checkpoint_every=every
            ),
            seeds=[0],
            tasks_per_step=BATCH,
            devices=devices,
            validate=validate,
            progress=Progress(steps=STEPS, start=0, tasks_per_step=BATCH, stream=log),
        ).train_state.params


def losses(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return np.array([(line["step"], line["loss"]) for line in lines if line["split"] == "train"]).T


folders = [Path(mkdtemp()) / name for name in ("undisturbed", "interrupted", "one_device")]
undisturbed = train(folders[0], devices)
try:
    train(folders[1], devices, cut=True)
except PowerCut as event:
    print("Power cut", event)
    curve_before_resuming = losses(folders[1])

# %%
resumed = train(folders[1], devices, resume=True)
one_device = train(folders[2], devices[:1])


def largest_difference(a, b):
    return max(
        float(np.abs(p - q).max()) for p, q in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )


print("resumed and undisturbed differ by", largest_difference(resumed, undisturbed))
print(f"one device and {count} differ by {largest_difference(one_device, undisturbed):.1e}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3))
axes[0].plot(shard_counts, per_shard, "o-", color=VERMILION, label="mean of the shards")
axes[0].plot(shard_counts, whole, "o-", color=BLUE, label="axis_name: the global batch")
axes[0].set_xticks(shard_counts)
axes[0].set(title="MMD of one sample, split", xlabel="shards", ylim=(0, None))
axes[1].plot(*losses(folders[0]), color=GREY, linewidth=6, alpha=0.4, label="undisturbed")
axes[1].plot(*curve_before_resuming, color=VERMILION, linewidth=3, label="until the power cut")
axes[1].plot(*losses(folders[1]), "--", color=BLUE, label="as resumed")
axes[1].set(title="loss", xlabel="step")
for axis in axes:
    axis.legend(frameon=False)
plt.tight_layout()
plt.show()

# %% [markdown]
# Resumed and undisturbed agree to the last bit, on the same devices and versions (on a GPU with
# `configure_devices(deterministic=True)`). One device and eight add in another order, and agree to
# rounding. The same loop starts several hosts by `jax.distributed`: see `start_multihost` in
# `jaxfer.training.devices`, and `--devices`, `--resume` and `--runs` of every experiment.
#
# ## Exercise
#
# 1. Leave `axis_name` out of `objective` in `step` and train. Does the loss go down? Is it the loss
#    that you meant? What of `estimator="unbiased"`, whose mean over shards is right, and what has
#    become of its spread?
# 2. Give `train` the seeds `[0, 1, 2]` in both places: every array of the state gets a leading axis
#    of three runs, which train side by side.

# %%
# What this notebook claims.
np.testing.assert_allclose(whole, whole[0], rtol=1e-4)
assert per_shard[-1] > 2 * whole[-1]
assert error < 1e-5 and (count == 1 or naive_error > 0.01)
assert largest_difference(resumed, undisturbed) == 0 or jax.default_backend() != "cpu"
assert largest_difference(one_device, undisturbed) < 1e-2
assert losses(folders[0])[1, -1] < losses(folders[0])[1, 0]
