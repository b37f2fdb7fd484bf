"""Metrics are valid JSON, cut back on resuming, and the same curves for TensorBoard."""

import json
import math
import struct

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from jaxfer.training.metrics import MetricsWriter, read_metrics


def write(folder, steps, *, resume_step=None, seeds=(0, 1)):
    writer = MetricsWriter(folder, seeds=seeds, resume_step=resume_step)
    for step in steps:
        loss = np.full(len(seeds), step / 10, np.float32)
        writer.write(step, "train", {"loss": loss}, seconds=writer.seconds + 1)
    writer.close()
    return writer


def events(folder):
    """The events of a TensorBoard folder: records framed by their length and two checksums."""
    for file in sorted(folder.glob("events*")):
        content = file.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            yield Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def test_a_line_per_run(tmp_path):
    write(tmp_path, [10])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 10, "seconds": 1.0, "split": "train", "run": run, "loss": 1.0} for run in (0, 1)
    ]


def test_numbers_are_written_as_a_person_would(tmp_path):
    writer = MetricsWriter(tmp_path, seeds=[0])
    writer.write(1, "train", {"loss": np.array([0.1], np.float32)}, seconds=0.123456)
    writer.close()
    assert '"seconds": 0.123' in (tmp_path / "metrics.jsonl").read_text()
    assert '"loss": 0.1}' in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null(tmp_path, value):
    writer = MetricsWriter(tmp_path, seeds=[0])
    writer.write(1, "validation", {"loss": np.array([value])}, seconds=1.0)
    writer.close()

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=refuse)["loss"] is None
    assert math.isnan(read_metrics(tmp_path)[0]["loss"])


def test_a_metric_cannot_take_the_name_of_a_place(tmp_path):
    writer = MetricsWriter(tmp_path, seeds=[0])
    with pytest.raises(ValueError, match="metrics cannot be named \\['step'\\]"):
        writer.write(1, "train", {"step": np.ones(1)}, seconds=1.0)
    writer.close()


def test_a_dead_run_has_no_line(tmp_path):
    writer = MetricsWriter(tmp_path, seeds=[0, 1])
    alive = np.array([False, True])
    writer.write(1, "train", {"loss": np.ones(2)}, seconds=1.0, alive=alive)
    writer.close()
    assert [line["run"] for line in read_metrics(tmp_path)] == [1]


def test_resuming_cuts_back_to_the_checkpoint_and_keeps_the_clock(tmp_path):
    write(tmp_path, [10, 20, 30], seeds=[0])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 20, "sec')  # the process was killed while it wrote
    again = write(tmp_path, [30, 40], resume_step=20, seeds=[0])
    assert again.seconds == 1.0
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [10, 20, 30, 40]
    assert [line["seconds"] for line in lines] == [1, 1, 2, 2]


def test_starting_afresh_keeps_nothing(tmp_path):
    write(tmp_path, [10], seeds=[0])
    write(tmp_path, [20], seeds=[0])
    assert [line["step"] for line in read_metrics(tmp_path)] == [20]


def test_tensorboard_has_the_same_curve_for_each_seed(tmp_path):
    write(tmp_path, [10, 20], seeds=[7, 8])
    for seed in (7, 8):
        points = [
            (event.step, value.tag, value.simple_value)
            for event in events(tmp_path / "tensorboard" / f"seed_{seed}")
            for value in event.summary.value
        ]
        assert points == [(10, "train/loss", 1.0), (20, "train/loss", 2.0)]


def test_tensorboard_is_told_where_a_resumed_run_begins(tmp_path):
    write(tmp_path, [10, 20], seeds=[7])
    write(tmp_path, [20], resume_step=10, seeds=[7])
    starts = [
        event.step
        for event in events(tmp_path / "tensorboard" / "seed_7")
        if event.HasField("session_log")
    ]
    assert starts == [11]


def test_no_metrics(tmp_path):
    assert read_metrics(tmp_path) == []
