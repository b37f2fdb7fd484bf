"""A checkpoint comes back bit for bit, or says that it is damaged; a kill leaves the one before."""

import random
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.training.checkpoints import checkpoint_steps, restore_checkpoint, save_checkpoint
from jaxfer.training.metrics import read_metrics
from jaxfer.training.state import TrainState, init_train_state
from jaxfer.typing import UserError

from .conftest import finish


def a_tree():
    params = {"w": jnp.arange(6.0).reshape(2, 3), "half": jnp.ones(3, jnp.bfloat16)}
    return {
        "params": params,
        "opt_state": optax.adamw(1e-3).init(params),
        "empty": {},
        "none_yet": (),
        "keys": jax.random.split(jax.random.key(3), 2),
        "raw_key": jax.random.PRNGKey(4),
        "alive": jnp.array([True, False]),
        "score": jnp.array([-jnp.inf, jnp.nan]),
        "step": jnp.array(7, jnp.int32),
    }


def equal_bits(left, right):
    """Equal in structure, dtype and every bit, NaN and -0.0 included."""
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for mine, theirs in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        if jnp.issubdtype(mine.dtype, jax.dtypes.prng_key):
            mine, theirs = jax.random.key_data(mine), jax.random.key_data(theirs)
        mine, theirs = np.asarray(mine), np.asarray(theirs)
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        assert mine.tobytes() == theirs.tobytes()


def test_a_tree_comes_back_bit_for_bit(tmp_path):
    tree = a_tree()
    save_checkpoint(tmp_path, 7, tree)
    step, back = restore_checkpoint(tmp_path, jax.eval_shape(lambda: tree))
    assert step == 7
    equal_bits(tree, back)
    assert isinstance(back["opt_state"][0], optax.ScaleByAdamState)
    assert jax.random.normal(back["keys"][0]) == jax.random.normal(tree["keys"][0])


def test_the_latest_two_are_kept_under_plain_numbers(tmp_path):
    for step in (5, 10, 100):
        save_checkpoint(tmp_path, step, {"w": np.full(3, step)})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["10", "100"]
    assert restore_checkpoint(tmp_path, {"w": np.zeros(3, int)})[0] == 100


def test_nothing_to_restore(tmp_path):
    assert restore_checkpoint(tmp_path / "absent", {"w": np.zeros(3)}) is None


def test_what_a_killed_save_left_is_removed_and_nothing_else(tmp_path):
    save_checkpoint(tmp_path, 5, {"w": np.ones(3)})
    for name in ("10.orbax-checkpoint-tmp", "10.orbax-checkpoint-tmp-17", "4.removed", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    assert restore_checkpoint(tmp_path, {"w": np.zeros(3)})[0] == 5
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["5", "notes"]


def test_saving_a_step_again_replaces_it(tmp_path):
    save_checkpoint(tmp_path, 5, {"w": np.zeros(3)})
    save_checkpoint(tmp_path, 10, {"w": np.zeros(3)})
    save_checkpoint(tmp_path, 10, {"w": np.ones(3)})
    step, back = restore_checkpoint(tmp_path, {"w": np.zeros(3)})
    assert step == 10 and back["w"].tolist() == [1, 1, 1]
    assert checkpoint_steps(tmp_path) == [5, 10]


def damage(folder, how):
    """Harms the largest file of a checkpoint: the one with the arrays."""
    victim = max((f for f in folder.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    content = victim.read_bytes()
    if how == "gone":
        victim.unlink()
    elif how == "cut":
        victim.write_bytes(content[: len(content) // 2])
    elif how == "altered":
        middle = len(content) // 2
        victim.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        for file in [f for f in folder.rglob("*") if f.is_file()]:
            file.unlink()


@pytest.mark.parametrize("how", ["gone", "cut", "altered", "emptied"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(tmp_path, how):
    tree = {"w": np.random.default_rng(0).normal(size=10_000)}
    for step in (5, 10):
        save_checkpoint(tmp_path, step, tree)
    damage(tmp_path / "10", how)
    said = []
    step, back = restore_checkpoint(tmp_path, tree, say=said.append)
    assert step == 5
    equal_bits(tree, back)
    (sentence,) = said
    assert f"{tmp_path / '10'} is damaged" in sentence and "from step 5" in sentence
    damage(tmp_path / "5", how)
    with pytest.raises(UserError, match="No checkpoint in .* can be read"):
        restore_checkpoint(tmp_path, tree, say=said.append)


def test_a_later_damaged_checkpoint_does_not_outlive_the_next_save(tmp_path):
    tree = {"w": np.ones(1000)}
    for step in (5, 10):
        save_checkpoint(tmp_path, step, tree)
    damage(tmp_path / "10", "emptied")
    save_checkpoint(tmp_path, 8, tree)
    assert checkpoint_steps(tmp_path) == [5, 8]


@pytest.mark.parametrize(
    "other", [{"w": np.zeros(4)}, {"w": np.zeros(3, np.float32)}, {"v": np.zeros(3)}]
)
def test_a_checkpoint_of_other_arrays_is_refused(tmp_path, other):
    save_checkpoint(tmp_path, 5, {"w": np.ones(3)})
    with pytest.raises(UserError, match="No checkpoint in"):
        restore_checkpoint(tmp_path, other)
    assert checkpoint_steps(tmp_path) == [5]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be written"):
        save_checkpoint(tmp_path / "file" / "checkpoints", 5, {"w": np.ones(3)})


BALLAST = 1_000_000  # so that saves take long enough to be hit
FLAGS = ("--ballast", BALLAST, "--per-dispatch", 1, "--every", 1, "--devices", 1)


def toy_state() -> TrainState:
    def init_one(key):
        return jnp.zeros(3), jnp.zeros(BALLAST)

    return init_train_state(init_one, optax.adam(0.1), seeds=[0])


def kill_in_a_save(process, checkpoints, after, delay):
    """Kills a process once a save is under way past a step; gives what lay there unfinished."""
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if any(step >= after for step in checkpoint_steps(checkpoints)) and unfinished(checkpoints):
            time.sleep(delay)
            break
    process.kill()
    assert process.wait() == -9, process.stdout.read()
    return unfinished(checkpoints)


def unfinished(checkpoints):
    return [entry.name for entry in checkpoints.iterdir() if not entry.name.isdigit()]


def survive_kills(start, tmp_path, *, steps, kills, rng):
    """Kills a run until so many kills have hit a save under way; a busy machine misses some."""
    flags = (*FLAGS, "--steps", steps)
    undisturbed = start("--out", tmp_path / "undisturbed", *flags)
    folder, resume = tmp_path / "killed", ()
    landed, attempts = 0, 4 * kills
    for attempt in range(attempts):
        process = start("--out", folder, *flags, *resume)
        resume = ("--resume",)
        after = 1 + attempt * steps // (2 * attempts)
        landed += bool(kill_in_a_save(process, folder / "checkpoints", after, rng.uniform(0, 0.01)))
        assert checkpoint_steps(folder / "checkpoints")[-1] < steps
        assert not (folder / "summary.json").exists()
        if landed == kills:
            break
    assert landed == kills, "too few kills hit a save under way"
    output = finish(start("--out", folder, *flags, "--resume"))
    finish(undisturbed)
    assert "Going on from step" in output and "damaged" not in output
    assert unfinished(folder / "checkpoints") == []
    like = toy_state()
    ends = [
        restore_checkpoint(tmp_path / name / "checkpoints", like)
        for name in ("undisturbed", "killed")
    ]
    assert ends[0][0] == ends[1][0] == steps
    equal_bits(ends[0][1], ends[1][1])
    lines = [
        [
            {k: v for k, v in line.items() if k != "seconds"}
            for line in read_metrics(tmp_path / name)
        ]
        for name in ("undisturbed", "killed")
    ]
    assert lines[0] == lines[1]


@pytest.mark.slow
def test_a_run_killed_while_it_saves_ends_bit_for_bit_where_an_undisturbed_one_does(
    start, tmp_path
):
    survive_kills(start, tmp_path, steps=16, kills=1, rng=random.Random(0))


@pytest.mark.slow
def test_a_run_killed_many_times(start, tmp_path):
    survive_kills(start, tmp_path, steps=60, kills=4, rng=random.Random(1))
