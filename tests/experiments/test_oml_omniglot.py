"""OML on Omniglot: a pass is what it says, methods stand side by side, and what is refused."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.data import ClassSplit
from jaxfer.experiments import oml_omniglot
from jaxfer.experiments.command_line import parse
from jaxfer.experiments.maml_omniglot import Arrays, Judged
from jaxfer.experiments.oml_omniglot import (
    PRESETS,
    SMOKE,
    Config,
    check_options,
    make_networks,
    run,
)
from jaxfer.experiments.online_passes import Pass, make_judge
from jaxfer.typing import LabelledBatch

from .conftest import commands, do, fail

pytestmark = pytest.mark.usefixtures("compiled_quickly", "few_glyphs")

TINY = dataclasses.replace(Config(), **SMOKE | dict(data="glyphs", image_size=14, devices=1))


@pytest.mark.slow
def test_methods_side_by_side(tmp_path):
    methods = ("oml", "scratch")
    done = do(run, dataclasses.replace(TINY, method=methods, runs=2, out=tmp_path / "out"))
    results = json.loads((done.folder / "summary.json").read_text())["test"]["results"]
    assert [(each["method"], each["classes"]) for each in results] == [
        (method, count) for method in methods for count in (2, 4)
    ]
    assert {each["rate"] for each in results} <= set(TINY.test_rates)
    for method in methods:
        each = np.load(done.folder / f"test_accuracies_{method}.npz")
        assert each["accuracy"].shape == each["trajectory"].shape == (2, 2, 2)
        assert f"{method}, held out" in done.out and f"{method}, learned" in done.out
    assert (done.folder / "accuracy.png").stat().st_size > 1000
    assert (done.folder / "oml" / "learning_curve.png").exists()
    assert not (done.folder / "scratch").exists()


@pytest.mark.slow
@pytest.mark.parametrize("learn_all", [False, True], ids=["the head", "everything"])
def test_a_pass_is_a_loop_over_its_images(learn_all):
    """Learned one image after the other in a loop: the prediction network, or (scratch) both."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (6, 5, 14, 14), dtype=np.uint8)
    part = np.arange(6, dtype=np.int32)
    arrays = Arrays(jnp.asarray(images), ClassSplit(part, part, part))
    networks = make_networks(TINY, 7)
    params, state = networks.init(jax.random.key(0))
    passes = Pass("test", (2, 4), 3, seed=5, rates=(0.1, 0.02))
    judge = jax.jit(make_judge(networks, passes, learn_all=learn_all))
    found = judge(Judged({"params": params}, state), arrays, jnp.array(3))
    assert found["accuracy"].shape == found["trajectory"].shape == (2, 2)

    # The same by hand: its keys, its order, its head.
    keys = jax.random.split(jax.random.fold_in(jax.random.PRNGKey(5), 3), 3)
    chosen = np.argsort(-jax.random.uniform(keys[0], (6,)))[:4]
    drawings = np.argsort(-jax.random.uniform(keys[1], (4, 5)), axis=-1)
    kernel = params["prediction"]["head"]["kernel"]
    drawn = jax.random.normal(keys[2], kernel.shape) * np.sqrt(2 / len(kernel))
    head = {"kernel": drawn, "bias": jnp.zeros(7)}
    learned = {**params, "prediction": {**params["prediction"], "head": head}}
    x = images[chosen[:, None], drawings].astype(np.float32)[..., None] / 255

    @jax.jit
    def take(learned, image, label):
        batch = LabelledBatch(image[None], label[None])
        grads = jax.grad(lambda p: networks.loss(p, {}, batch, None)[0])(learned)
        if not learn_all:
            still = jax.tree.map(jnp.zeros_like, params["representation"])
            grads = {**grads, "representation": still}
        return optax.apply_updates(learned, jax.tree.map(lambda g: -0.1 * g, grads))

    for count in range(4):
        for image in x[count, :3]:
            learned = take(learned, image, jnp.array(count))
        if count + 1 not in passes.counts:
            continue
        for part, name in ((slice(3, None), "accuracy"), (slice(3), "trajectory")):
            asked = x[: count + 1, part].reshape(-1, 14, 14, 1)
            features, _ = networks.represent(learned["representation"], {}, asked, train=False)
            answers = networks.predict(learned["prediction"], features).argmax(-1)
            right = np.mean(answers == np.repeat(np.arange(count + 1), len(asked) // (count + 1)))
            np.testing.assert_allclose(found[name][0, passes.counts.index(count + 1)], right)


def test_presets_and_commands_are_configurations():
    for flags in commands(oml_omniglot):
        check_options(parse(Config, flags, presets=PRESETS))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--test-classes", "4", "2"], "--test-classes is (4, 2); give them in ascending order"),
        (["--test-classes", "2", "900"], "--test-classes ends at 900, but there are only 40"),
        (["--test-shot", "20"], "--test-shot is 20, but each character has 20 drawings"),
        (["--shot", "21"], "--shot is 21, but each character has 20 drawings; give at most 20"),
        (["--trajectory", "99"], "--trajectory is 99, but there are only 54 characters"),
        (["--test-rates", "0"], "--test-rates is (0.0,); give at least one positive number"),
        (["--validation-classes", "60"], "A split of the background needs 1 to 59"),
    ],
)
def test_what_is_refused(flags, said, tmp_path):
    error = fail(
        oml_omniglot, "--data", "glyphs", "--smoke", "--out", tmp_path / "out", *flags, smoke=SMOKE
    )
    assert error.startswith(f"error: {said}"), error
    assert not (tmp_path / "out").exists()
