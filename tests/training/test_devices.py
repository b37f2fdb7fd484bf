"""One device and four, one run and several: the same numbers. What cannot be split says so."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.training.checkpoints import restore_checkpoint
from jaxfer.training.devices import (
    available_cores,
    compile_evaluation,
    compile_step,
    configure_devices,
    first,
    replicate,
)
from jaxfer.training.state import init_train_state
from jaxfer.typing import UserError

from .conftest import finish

ONE = jax.local_devices()[:1]
OPTIMISER = optax.adam(0.1)


def init_one(key):
    return {"w": jax.random.normal(key, (3,))}, {"mean": jnp.zeros(())}


def step(run, data):
    x = jax.random.normal(jax.random.fold_in(run.key, run.step), (4, 3))

    def loss_fn(params):
        return jnp.mean((x @ params["w"] - data.sum()) ** 2)

    loss, gradient = jax.lax.pmean(jax.value_and_grad(loss_fn)(run.params), "batch")
    updates, opt_state = OPTIMISER.update(gradient, run.opt_state)
    params = optax.apply_updates(run.params, updates)
    # Run 1's state, not its seed, makes it fail: set in the test of freezing.
    loss = jnp.where(run.state["mean"] + run.step >= 1003, jnp.nan, loss)
    state = {"mean": run.state["mean"]}
    return run._replace(params=params, opt_state=opt_state, state=state), {"loss": loss}


def take(state, times, scan_length=1):
    compiled = compile_step(step, devices=ONE, scan_length=scan_length)
    replicated, data = replicate(state, ONE), replicate(jnp.ones(2), ONE)
    losses = []
    for _ in range(times):
        replicated, metrics = compiled(replicated, data)
        losses.append(np.asarray(first(metrics)["loss"]))
    return first(replicated), np.concatenate(losses)


def leaves_of(state, run):
    return [np.asarray(leaf)[run] for leaf in jax.tree.leaves(state)]


def test_runs_equal_separate_runs():
    together, losses = take(init_train_state(init_one, OPTIMISER, seeds=[3, 4]), 4)
    for run, seed in enumerate([3, 4]):
        alone, own = take(init_train_state(init_one, OPTIMISER, seeds=[seed]), 4)
        np.testing.assert_allclose(losses[:, run], own[:, 0], rtol=1e-5)
        for mine, theirs in zip(leaves_of(together, run), leaves_of(alone, 0), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    assert losses[0, 0] != losses[0, 1]


def test_a_scan_takes_the_same_steps():
    state = init_train_state(init_one, OPTIMISER, seeds=[0])
    single, losses = take(state, 6)
    scanned, scanned_losses = take(state, 2, scan_length=3)
    assert scanned_losses.shape == (6, 1)
    np.testing.assert_allclose(losses, scanned_losses, rtol=1e-5)
    np.testing.assert_allclose(single.params["w"], scanned.params["w"], rtol=1e-5)
    assert int(scanned.step[0]) == 6


@pytest.mark.parametrize("scan_length", [1, 3])
def test_a_run_that_is_not_finite_is_frozen_and_the_others_go_on(scan_length):
    state = init_train_state(init_one, OPTIMISER, seeds=[0, 1])
    state = state._replace(state={"mean": jnp.array([0.0, 1000.0])})  # run 1 fails at step 4
    before, _ = take(state, 3)
    after, losses = take(state, 6 // scan_length, scan_length)
    assert after.alive.tolist() == [True, False]
    assert after.died.tolist() == [-1, 4]
    assert after.step.tolist() == [6, 3]
    assert np.isnan(losses[3:, 1]).all() and np.isfinite(losses[:3, 1]).all()
    assert np.isfinite(losses[:, 0]).all()
    np.testing.assert_allclose(after.params["w"][1], before.params["w"][1], rtol=1e-6)
    for old, new in zip(
        jax.tree.leaves(before.opt_state), jax.tree.leaves(after.opt_state), strict=True
    ):
        np.testing.assert_allclose(old[1], new[1], rtol=1e-6)


def test_parameters_that_are_not_finite_freeze_a_run_with_a_finite_loss():
    def explode(run, data):
        return run._replace(params={"w": run.params["w"] * jnp.inf}), {"loss": jnp.zeros(())}

    state = init_train_state(init_one, OPTIMISER, seeds=[0])
    compiled = compile_step(explode, devices=ONE)
    after, _ = compiled(replicate(state, ONE), replicate(jnp.ones(2), ONE))
    assert first(after).died.tolist() == [1]
    np.testing.assert_array_equal(first(after).params["w"], state.params["w"])


def test_metrics_without_a_loss_are_refused():
    state = replicate(init_train_state(init_one, OPTIMISER, seeds=[0]), ONE)
    compiled = compile_step(lambda run, data: (run, {"error": jnp.zeros(())}), devices=ONE)
    with pytest.raises(ValueError, match='metrics need "loss".*error'):
        compiled(state, replicate(jnp.ones(2), ONE))


def test_a_scan_needs_a_step():
    with pytest.raises(ValueError, match="scan_length is 0"):
        compile_step(step, scan_length=0)


def test_the_best_is_carried_through_unchanged():
    state = init_train_state(init_one, OPTIMISER, seeds=[0, 1])
    state = state._replace(best=state.best._replace(score=jnp.array([0.5, 0.25])))
    after, _ = take(state, 2, scan_length=2)
    for old, new in zip(jax.tree.leaves(state.best), jax.tree.leaves(after.best), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_state_that_was_replicated_stays_usable():
    state = init_train_state(init_one, OPTIMISER, seeds=[0])
    take(state, 2)
    assert np.isfinite(np.asarray(state.params["w"])).all()


@pytest.mark.parametrize("runs", [1, 3])
def test_an_evaluation_is_mapped_over_runs(runs):
    evaluate = compile_evaluation(lambda w, x: {"product": w * x.sum()}, devices=ONE)
    given = np.arange(1.0, runs + 1, dtype=np.float32)
    found = evaluate(given, replicate(jnp.ones(4), ONE))
    np.testing.assert_array_equal(found["product"], 4 * given)


@pytest.mark.slow
def test_four_devices_and_two_processes_equal_one(start, tmp_path):
    """Ten steps; the two processes have two devices each and agree on one checkpoint."""
    flags = ("--steps", 10, "--runs", 2)
    port = 20000 + os.getpid() % 20000
    programs = [
        start("--out", tmp_path / "one", "--devices", 1, *flags),
        start("--out", tmp_path / "four", "--devices", 4, *flags),
        *(
            start(
                *("--out", tmp_path / "two", "--devices", 2, *flags),
                JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
                JAX_NUM_PROCESSES="2",
                JAX_PROCESS_ID=str(index),
            )
            for index in range(2)
        ),
    ]
    for program in programs:
        finish(program)
    like = init_train_state(lambda key: (jnp.zeros(3), jnp.zeros(1)), optax.adam(0.1), seeds=[0, 1])
    ends = {}
    for name in ("one", "four", "two"):
        at, ends[name] = restore_checkpoint(tmp_path / name / "checkpoints", like)
        assert at == 10
        summary = (tmp_path / name / "summary.json").read_text()
        assert f'"devices": {1 if name == "one" else 4}' in summary
        assert f'"processes": {2 if name == "two" else 1}' in summary
    assert np.abs(ends["one"].params).max() > 0.1
    for name in ("four", "two"):
        for mine, theirs in zip(
            jax.tree.leaves(ends["one"]), jax.tree.leaves(ends[name]), strict=True
        ):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def test_more_devices_than_there_are():
    with pytest.raises(UserError, match="--devices 99 asks for more than the"):
        configure_devices(99)


def test_no_devices():
    with pytest.raises(UserError, match="--devices is 0; give at least 1"):
        configure_devices(0)


def test_tasks_that_do_not_split(start, tmp_path):
    output = finish(start("--out", tmp_path / "run", "--devices", 3), code=2)
    assert output == (
        "error: 8 tasks do not split evenly over 3 device(s); give a multiple of 3 tasks, or "
        "another --devices.\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "flags", "expected"),
    [
        ("divides=32", "", "COUNT false"),
        ("divides=1", "", "1 absent"),
        pytest.param("3", "", "3 false", marks=pytest.mark.thorough),
        ("2", "--xla_cpu_multi_thread_eigen=true", "2 true"),
        pytest.param(
            "divides=9",
            "--xla_force_host_platform_device_count=4",
            "3 false",
            marks=pytest.mark.thorough,
        ),
    ],
)
def test_host_devices_follow_the_cores_the_flag_and_the_environment(arguments, flags, expected):
    program = f"""
import os, re
from jaxfer.training.devices import configure_devices, first, replicate
devices = configure_devices({arguments})
found = re.search("xla_cpu_multi_thread_eigen=(true|false)", os.environ.get("XLA_FLAGS", ""))
print(len(devices), found[1] if found else "absent")
assert replicate(1.0, devices).shape == (len(devices),)
"""
    cores = min(available_cores(), 32)
    count = max(n for n in range(1, cores + 1) if 32 % n == 0)
    if "COUNT" in expected and count == 1:
        expected = "1 absent"
    clean = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    root = str(Path(__file__).parents[2])
    environment = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": root}
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stdout.strip() == expected.replace("COUNT", str(count)), result.stderr


def test_an_incomplete_environment_of_several_processes(monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "127.0.0.1:1234")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "2")
    with pytest.raises(UserError, match="JAX_PROCESS_ID is not set"):
        configure_devices(1)
