"""The loop: stopped anywhere and resumed, a run ends where it would have ended."""

import json
import os
import re
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxfer.training.checkpoints import checkpoint_steps
from jaxfer.training.devices import replicate
from jaxfer.training.loop import Schedule, Stopped, fit
from jaxfer.training.metrics import read_metrics
from jaxfer.training.run_folder import open_run_folder
from jaxfer.training.state import init_train_state
from jaxfer.typing import UserError

from .conftest import finish

ONE = jax.local_devices()[:1]
OPTIMISER = optax.adam(0.1)
SCHEDULE = Schedule(
    steps=32, steps_per_dispatch=5, log_every=10, validate_every=10, checkpoint_every=15
)


def step(run, data):
    x = jax.random.normal(jax.random.fold_in(run.key, run.step), (4, 3))
    loss, gradient = jax.value_and_grad(lambda w: jnp.mean((x @ w - data) ** 2))(run.params)
    updates, opt_state = OPTIMISER.update(gradient, run.opt_state)
    # `state` says from which step on the run fails.
    loss = jnp.where(run.step + 1 >= run.state, jnp.nan, loss)
    return run._replace(params=optax.apply_updates(run.params, updates), opt_state=opt_state), {
        "loss": loss,
        "number": (run.step + 1).astype(jnp.float32),
    }


def validate(train_state):
    return {"accuracy": -jnp.abs(train_state.step - 20.0), "other": train_state.params[:, 0]}


def train(out, *, seeds=(0,), fails_at=(1000,), schedule=SCHEDULE, resume=False, **options):
    state = init_train_state(
        lambda key: (jax.random.normal(key, (3,)), jnp.array(0)), OPTIMISER, seeds=seeds
    )
    with open_run_folder(out, {"seeds": seeds}, resume=resume) as folder:
        return fit(
            step,
            state._replace(state=jnp.array(fails_at)),
            replicate(jnp.array(2.0), ONE),
            folder=folder,
            schedule=schedule,
            seeds=seeds,
            tasks_per_step=4,
            devices=ONE,
            **{"validate": validate} | options,
        )


def lines(out, split):
    return [line for line in read_metrics(out) if line["split"] == split]


def test_what_is_due_when(tmp_path, capsys):
    fitted = train(tmp_path)
    assert fitted.train_state.step.tolist() == [32]
    # 15 and 30 are due by the schedule; the last step always is.
    assert checkpoint_steps(tmp_path / "checkpoints") == [30, 32]
    assert [line["step"] for line in lines(tmp_path, "validation")] == [10, 20, 30, 32]
    # A line at each multiple of 10 and beside each checkpoint: the mean over the steps between.
    found = {line["step"]: line["number"] for line in lines(tmp_path, "train")}
    assert found == {10: 5.5, 15: 13.0, 20: 18.0, 30: 25.5, 32: 31.5}
    assert fitted.train_state.best.step.tolist() == [20]
    assert fitted.train_state.best.score.tolist() == [0]
    assert fitted.seconds > 0
    shown = capsys.readouterr().err
    assert "step 5/32  loss" in shown and "step 32/32" in shown and "step 20  validation" in shown


@pytest.mark.parametrize("stop_at", [20, pytest.param(30, marks=pytest.mark.slow)])
def test_a_run_that_is_stopped_and_resumed_ends_bit_for_bit_where_it_would_have(tmp_path, stop_at):
    undisturbed = train(tmp_path / "undisturbed", seeds=(3, 4), fails_at=(1000, 1000))

    def interrupt(train_state):
        if int(train_state.step[0]) == stop_at:
            signal.raise_signal(signal.SIGINT)
        return validate(train_state)

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped) as stopped:
        train(tmp_path / "stopped", seeds=(3, 4), fails_at=(1000, 1000), validate=interrupt)
    assert stopped.value.signal_number == signal.SIGINT
    # The signal came after the dispatch: the next one is finished, then saved.
    assert stopped.value.step == min(stop_at + 5, 32)
    assert checkpoint_steps(tmp_path / "stopped" / "checkpoints")[-1] == stopped.value.step
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

    resumed = train(tmp_path / "stopped", seeds=(3, 4), fails_at=(1000, 1000), resume=True)
    assert resumed.seconds > 0
    for mine, theirs in zip(
        jax.tree.leaves(undisturbed.train_state), jax.tree.leaves(resumed.train_state), strict=True
    ):
        assert np.asarray(mine).tobytes() == np.asarray(theirs).tobytes()
    assert [line["step"] for line in lines(tmp_path / "stopped", "validation")] == [
        line["step"] for line in lines(tmp_path / "undisturbed", "validation")
    ]


def test_a_finished_run_resumes_to_its_end(tmp_path):
    fitted = train(tmp_path)
    metrics = (tmp_path / "metrics.jsonl").read_text()
    again = train(tmp_path, resume=True)
    np.testing.assert_array_equal(fitted.train_state.params, again.train_state.params)
    assert (tmp_path / "metrics.jsonl").read_text() == metrics
    assert again.seconds == pytest.approx(fitted.seconds, abs=0.5)


def test_a_run_cannot_be_resumed_to_an_earlier_end(tmp_path):
    train(tmp_path)
    with pytest.raises(UserError, match="is at step 32 already, past --steps 20; give at least 32"):
        train(tmp_path, schedule=SCHEDULE._replace(steps=20), resume=True)


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path):
    def interrupt(train_state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, validate=interrupt)
    assert checkpoint_steps(tmp_path / "checkpoints") == []
    assert train(tmp_path, resume=True).train_state.step.tolist() == [32]
    assert [line["step"] for line in lines(tmp_path, "train")] == [10, 15, 20, 30, 32]


def test_a_single_run_that_is_not_finite_ends_with_its_last_good_checkpoint(tmp_path):
    with pytest.raises(UserError) as error:
        train(tmp_path, seeds=(7,), fails_at=(18,))
    assert str(error.value).startswith(
        f"Parameters or loss were not finite (seed 7 at step 18); the last good checkpoint is "
        f"{tmp_path / 'checkpoints' / '15'}. Lower the learning rate"
    )
    assert checkpoint_steps(tmp_path / "checkpoints") == [15]


def test_a_run_that_is_never_finite_had_nothing_saved(tmp_path):
    with pytest.raises(UserError, match="none was saved"):
        train(tmp_path, fails_at=(2,))


def test_of_several_runs_the_dead_one_is_named_and_the_others_go_on(tmp_path, capsys):
    fitted = train(tmp_path, seeds=(7, 8), fails_at=(18, 1000))
    assert fitted.train_state.died.tolist() == [18, -1]
    assert fitted.train_state.step.tolist() == [17, 32]
    said = capsys.readouterr().err
    assert said.count("Run 0 (seed 7) was not finite at step 18") == 1
    assert {line["run"] for line in read_metrics(tmp_path) if line["step"] > 15} == {1}
    assert fitted.train_state.best.step.tolist() == [10, 20]
    assert "nan" not in said


def test_the_score_must_be_among_the_validations_values(tmp_path):
    with pytest.raises(ValueError, match="score is 'f1'; validation gives only"):
        train(tmp_path, score="f1")


def test_a_schedule_without_steps(tmp_path):
    with pytest.raises(ValueError, match="at least 1"):
        train(tmp_path, schedule=SCHEDULE._replace(log_every=0))


def test_a_schedule_says_what_a_longer_dispatch_steps_over():
    schedule = Schedule(steps=100, steps_per_dispatch=30, log_every=10)
    ends, at = [], 0
    while at < 100:
        start, at = at, schedule.dispatch_end(at)
        ends.append(at)
        assert schedule.due(schedule.log_every, start, at)
    assert ends == [30, 60, 90, 100]
    assert not schedule.due(40, 0, 30) and schedule.due(40, 30, 60)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_says_how_to_go_on(start, tmp_path, number):
    flags = ("--out", tmp_path / "run", "--steps", 10_000_000, "--devices", 1)
    process = start(*flags)
    deadline = time.monotonic() + 300
    while not checkpoint_steps(tmp_path / "run" / "checkpoints") and time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    process.send_signal(number)
    output = finish(process, code=128 + number)
    found = re.search(r"Saved at step (\d+); go on with: (.*)\n", output)
    assert found, output
    step = int(found[1])
    assert checkpoint_steps(tmp_path / "run" / "checkpoints")[-1] == step
    expected = " ".join(map(str, ("python -m jaxfer.experiments.toy_experiment", *flags)))
    assert found[2] == f"{expected} --resume"
    assert "Traceback" not in output
    if number == signal.SIGTERM:
        return
    flags = ("--out", tmp_path / "run", "--steps", step + 10, "--devices", 1)
    output = finish(start(*flags, "--resume"))
    assert f"Going on from step {step}." in output
    assert checkpoint_steps(tmp_path / "run" / "checkpoints")[-1] == step + 10
    assert json.loads((tmp_path / "run" / "config.json").read_text())["steps"] == step + 10


@pytest.mark.slow
def test_two_processes_stop_and_fail_together(start, tmp_path):
    """A signal to one stops both at one step; a refusal by one ends both; resumed, they go on."""
    port = 20000 + (os.getpid() + 7) % 20000

    def start_both(*flags):
        return [
            start(
                *("--out", tmp_path / "run", "--devices", 1, *flags),
                JAX_COORDINATOR_ADDRESS=f"127.0.0.1:{port}",
                JAX_NUM_PROCESSES="2",
                JAX_PROCESS_ID=str(index),
            )
            for index in range(2)
        ]

    checkpoints = tmp_path / "run" / "checkpoints"
    both = start_both("--steps", 10_000_000)
    deadline = time.monotonic() + 300
    while not checkpoint_steps(checkpoints) and time.monotonic() < deadline:
        time.sleep(0.01)
    both[1].send_signal(signal.SIGTERM)
    outputs = [finish(process, code=128 + signal.SIGTERM) for process in both]
    steps = {re.search(r"Saved at step (\d+)", output)[1] for output in outputs}
    assert steps == {str(checkpoint_steps(checkpoints)[-1])}

    outputs = [finish(process, code=2) for process in start_both()]
    assert "already holds a run" in outputs[0]
    assert "Process 0 stopped; its own message says why." in outputs[1]

    end = int(steps.pop()) + 10
    for process in start_both("--steps", end, "--resume"):
        finish(process)
    assert checkpoint_steps(checkpoints)[-1] == end


PATIENT = SCHEDULE._replace(steps=100, patience=2)
# Best at 10 and at 30; what the first one would reach at 50 comes too late.
SCORES = np.array([[1, 0, 0, 0, 5], [0, 1, 2, 0, 0]], np.float32)


def score_by_table(train_state):
    seed = train_state.state % 10
    at = np.clip(np.asarray(train_state.step) // 10 - 1, 0, 4)
    return {"accuracy": jnp.asarray(SCORES[np.asarray(seed), at])}


def test_patience_ends_each_run_where_it_would_have_ended_alone(tmp_path, capsys):
    options = {"schedule": PATIENT, "validate": score_by_table}
    fitted = train(tmp_path / "both", seeds=(7, 8), fails_at=(1000, 1001), **options)
    assert fitted.train_state.step.tolist() == [50, 50]  # the second has waited from 30 on
    assert fitted.train_state.best.step.tolist() == [10, 30]
    assert fitted.train_state.best.score.tolist() == [1, 2]
    said = capsys.readouterr().err
    assert "Run 0 (seed 7) ends: no better since step 10." in said
    last = {line["run"]: line["step"] for line in lines(tmp_path / "both", "validation")}
    assert last == {0: 30, 1: 50}
    assert checkpoint_steps(tmp_path / "both" / "checkpoints")[-1] == 50
    alone = train(tmp_path / "alone", seeds=(7,), fails_at=(1000,), **options)
    assert alone.train_state.step.tolist() == [30]
    np.testing.assert_allclose(
        alone.train_state.best.params[0], fitted.train_state.best.params[0], rtol=1e-5
    )


def test_a_run_whose_patience_ended_stays_ended_and_a_stopped_one_goes_on_to_there(tmp_path):
    options = {"seeds": (7, 8), "fails_at": (1000, 1001), "schedule": PATIENT}
    undisturbed = train(tmp_path / "undisturbed", validate=score_by_table, **options)
    again = train(tmp_path / "undisturbed", validate=score_by_table, resume=True, **options)
    assert again.train_state.step.tolist() == [50, 50]

    def interrupt(train_state):
        if int(train_state.step[0]) == 40:
            signal.raise_signal(signal.SIGINT)
        return score_by_table(train_state)

    with pytest.raises(Stopped):
        train(tmp_path / "stopped", validate=interrupt, **options)
    resumed = train(tmp_path / "stopped", validate=score_by_table, resume=True, **options)
    for mine, theirs in zip(
        jax.tree.leaves(undisturbed.train_state), jax.tree.leaves(resumed.train_state), strict=True
    ):
        assert np.asarray(mine).tobytes() == np.asarray(theirs).tobytes()


def test_patience_goes_with_runs_that_fail(tmp_path):
    fitted = train(
        tmp_path, seeds=(7, 8), fails_at=(1000, 41), schedule=PATIENT, validate=score_by_table
    )
    assert fitted.train_state.died.tolist() == [-1, 41]
    assert fitted.train_state.best.step.tolist() == [10, 30]


def test_patience_needs_something_to_count(tmp_path):
    with pytest.raises(ValueError, match="patience counts validations; give validate"):
        train(tmp_path, schedule=PATIENT, validate=None)
    with pytest.raises(ValueError, match="at least 1"):
        train(tmp_path / "next", schedule=SCHEDULE._replace(patience=0))
