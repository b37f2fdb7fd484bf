"""Few-shot methods on Omniglot's episodes: that they learn, what they leave, what they refuse."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.data import ClassSplit
from jaxfer.experiments import fewshot_omniglot
from jaxfer.experiments.command_line import parse
from jaxfer.experiments.few_shot import Problem
from jaxfer.experiments.few_shot_methods import make_method
from jaxfer.experiments.fewshot_omniglot import PRESETS, SMOKE, Config, make_sampler, run
from jaxfer.experiments.maml_omniglot import Arrays
from jaxfer.training.checkpoints import checkpoint_steps
from jaxfer.typing import UserError

from .conftest import commands, do, fail

pytestmark = pytest.mark.usefixtures("compiled_quickly", "few_glyphs")

TINY = dataclasses.replace(
    Config(),
    **SMOKE | dict(data="glyphs", image_size=16, devices=1, validation_episodes=3),
)


@pytest.fixture(scope="module")
def finished(compiled_quickly, few_glyphs, tmp_path_factory):
    """A run of a method on episodes and of the one on labelled images."""
    config = dataclasses.replace(
        TINY,
        method=("prototypical", "supervised"),
        runs=2,
        out=tmp_path_factory.mktemp("runs") / "finished",
    )
    return do(run, config)


@pytest.mark.slow
def test_one_table_over_methods(finished):
    rows = ["nearest pixels", "prototypical", "fine-tuning", "linear-probe", "simple-shot"]
    lines = finished.out.splitlines()
    [head] = [i for i, line in enumerate(lines) if line.startswith("accuracy %, glyphs")]
    assert lines[head].endswith("  4-way 1-shot")
    assert [line.split("  ")[0].strip() for line in lines[head + 2 : head + 7]] == rows
    summary = json.loads((finished.folder / "summary.json").read_text())
    found = summary["test"]["results"]
    assert list(dict.fromkeys(each["method"] for each in found)) == rows and len(found) == 5
    each = np.load(finished.folder / "prototypical" / "test_accuracies.npz")
    accuracy = each["prototypical 4-way 1-shot"]
    assert accuracy.shape == (2, 4)
    assert found[1]["accuracy"] == pytest.approx(accuracy.mean(), abs=1e-6)
    assert (finished.folder / "fewshot.png").stat().st_size > 1000
    assert summary["test"]["runs"].keys() == {"prototypical", "supervised"}


@pytest.mark.slow
def test_each_method_has_its_folder_and_a_resumed_run_trains_nothing_again(finished):
    for name in ("prototypical", "supervised"):
        folder = finished.folder / name
        assert checkpoint_steps(folder / "checkpoints") == [2, 4]
        assert (folder / "learning_curve.png").stat().st_size > 1000
    before = finished.summary["test"]["results"]
    config = dataclasses.replace(
        TINY, method=("prototypical",), runs=2, out=finished.folder, resume=True
    )
    again = do(run, config).summary["test"]["results"]
    assert again == [
        each for each in before if each["method"] in ("nearest pixels", "prototypical")
    ]


def arrays():
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (12, 20, 16, 16), dtype=np.uint8)
    part = np.arange(12, dtype=np.int32)
    return Arrays(jnp.asarray(images), ClassSplit(part, part, part))


# The others differ from one of these by a head or a loss that has its own tests.
KINDS = (
    "prototypical", "matching-full-context", "relation", "siamese-contrastive", "ridge",
    "proto-maml", "neural-process", "snail", "supervised",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_step_of_every_method_lowers_its_loss_and_its_answers_have_the_shape(name):
    config = dataclasses.replace(TINY, width=4, inner_steps=1)
    method = make_method(Problem(config, name, 4, 1, 48))
    params, state = jax.jit(method.init)(jax.random.key(0))
    began = method.learner.init(params)
    task = jax.jit(make_sampler(config, method))(jax.random.key(1), arrays())
    gradient = jax.jit(lambda meta: method.learner.gradient(meta, state, task, None, 0))
    first = gradient(began)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(first.grads))
    assert np.isfinite(largest) and largest > 0
    moved = jax.tree.map(lambda p, g: p - 1e-2 / largest * g, began, first.grads)
    assert gradient(moved).metrics["loss"] < first.metrics["loss"]
    assert jax.tree.structure(first.state) == jax.tree.structure(state)
    support = task.support._replace(x=task.support.x[:4], y=jnp.arange(4))
    answers = method.answers(4)

    @jax.jit
    def ask(params, state, x):
        return {row: answer(params, state, support, x, train=False)[0]
                for row, answer in answers.items()}  # fmt: skip

    # The same query among others: no other has a part in its answer.
    together = ask(began["params"], first.state, task.query.x[:3])
    others = ask(began["params"], first.state, task.query.x[jnp.array([3, 1, 5])])
    for row, logits in together.items():
        assert logits.shape == (3, 4) and np.isfinite(logits).all(), row
        np.testing.assert_allclose(others[row][1], logits[1], rtol=1e-3, atol=1e-3, err_msg=row)
        assert np.abs(others[row][0] - logits[0]).max() > 1e-6, row


def test_methods_whose_network_knows_the_way_answer_no_other():
    for name, fixed in (("snail", True), ("neural-process", True), ("prototypical", False)):
        method = make_method(Problem(TINY, name, 4, 1, 48))
        assert bool(method.answers(5)) != fixed and method.answers(4)


def test_presets_and_commands_are_configurations():
    for flags in commands(fewshot_omniglot):
        fewshot_omniglot.check_options(parse(Config, flags, presets=PRESETS))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--method", "protonet"], "There is no method 'protonet'; the methods are: prototypical"),
        (["--train-way", "80"], "--train-way is 80, but there are only 68 classes to train on"),
        (["--test-way", "30"], "--way is 30, but there are only 26"),
        (["--test-shot", "19"], "--shot 19 and --queries 2 need 21 drawings"),
        (["--train-queries", "0"], "--train-queries is 0; give at least 1"),
        (["--image-size", "12"], "--image-size is 12; give at least 16"),
        (["--inner-rate", "nan"], "--inner-rate is nan"),
    ],
)
def test_what_is_refused(flags, said, tmp_path):
    # Before anything is compiled or written.
    error = fail(
        fewshot_omniglot, "--data", "glyphs", "--smoke", "--out", tmp_path / "out", *flags,
        smoke=SMOKE,
    )  # fmt: skip
    assert error.startswith(f"error: {said}"), error
    assert not (tmp_path / "out").exists()


def test_a_folder_of_ones_own_with_too_few_classes(tmp_path):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no image"):
        run(dataclasses.replace(TINY, data=str(tmp_path / "photos"), out=tmp_path / "out"))
