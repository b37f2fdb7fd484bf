"""A bar on a terminal, plain lines elsewhere: loss, accuracy, speed and the time left."""

import io

import pytest

from jaxfer.training import progress as module
from jaxfer.training.progress import Progress, readable


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def plain(**options):
    stream = io.StringIO()
    return stream, Progress(steps=1000, start=0, tasks_per_step=32, stream=stream, **options)


def test_the_first_line_comes_at_once_and_the_next_only_after_a_while(clock):
    stream, progress = plain(every=15.0)
    for _ in range(20):
        progress.update(int(clock[0]), {"loss": 0.5, "accuracy": 0.75})
        clock[0] += 1
    lines = stream.getvalue().splitlines()
    assert lines[0] == "step 100/1000  loss 0.5000  accuracy 75.0%"
    assert len(lines) == 2 and lines[1].startswith("step 115/1000")


def test_speed_and_time_left_do_not_count_the_first_dispatch(clock):
    stream, progress = plain(every=0.0)
    clock[0] += 1000  # compiling
    progress.update(10, {"loss": 0.5})
    clock[0] += 10
    progress.update(110, {"loss": 0.5})
    assert stream.getvalue().splitlines()[1] == (
        "step 110/1000  loss 0.5000  320 tasks/s  1:29 left"
    )


def test_the_last_line_always_comes(clock):
    stream, progress = plain(every=1000.0)
    progress.update(10, {"loss": 0.5})
    progress.update(1000, {"loss": 0.25})
    assert "step 1000/1000" in stream.getvalue()


def test_a_bar_on_a_terminal():
    stream = Terminal()
    progress = Progress(steps=100, start=40, tasks_per_step=4, stream=stream)
    assert "40/100" in stream.getvalue() and "compiling" in stream.getvalue()
    progress.update(50, {"loss": 0.5, "accuracy": 0.75})
    progress.note("a sentence")
    progress.update(60, {"loss": 0.5, "accuracy": 0.75})
    progress.close()
    last = stream.getvalue().split("\r")[-1]
    assert "60/100" in last and "accuracy 75.0%" in last and "tasks/s" in last
    assert "a sentence\n" in stream.getvalue()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"loss": 1.23456}, "loss 1.2346"),
        ({"loss": 1e-7}, "loss 1e-07"),
        ({"loss": 123456.0}, "loss 1.23e+05"),
        ({"loss": float("nan")}, "loss nan"),
        ({"accuracy": float("nan")}, "accuracy nan"),
        ({"loss": 0.0, "query_accuracy": 0.987}, "loss 0.0000  query_accuracy 98.7%"),
    ],
)
def test_values_are_readable(values, expected):
    assert readable(values) == expected


@pytest.mark.parametrize(("seconds", "expected"), [(5, "0:05"), (65, "1:05"), (3661, "1:01:01")])
def test_the_clock(clock, seconds, expected):
    stream, progress = plain(every=0.0)
    progress.update(0, {})
    clock[0] += seconds
    progress.update(500, {})
    assert f"{expected} left" in stream.getvalue()
