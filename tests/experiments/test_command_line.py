"""The command line: presets, flags that win over them, errors in one sentence."""

import dataclasses
import math
import re
import signal
from pathlib import Path

import pytest

from jaxfer.experiments.command_line import (
    CommonOptions,
    TrainingOptions,
    check_at_least,
    main,
    parse,
)
from jaxfer.training.loop import Stopped
from jaxfer.typing import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingOptions):
    """An experiment's settings."""

    inner_rate: float = 0.1
    """The inner rate."""
    learn_rates: bool = False
    """Learn the rates too."""


PRESETS = {
    "paper": Config(inner_rate=0.4, steps=60_000),
    "many": Config(runs=5, learn_rates=True),
}
SMOKE = {"steps": 4, "inner_rate": 0.5}


def read(*args):
    return parse(Config, args, presets=PRESETS, smoke=SMOKE, name="toy")


def run_main(run, *args):
    with pytest.raises(SystemExit) as ended:
        main(Config, run, PRESETS, smoke=SMOKE, args=args)
    return ended.value.code


def test_the_defaults():
    config = read()
    assert config == Config(out=Path("runs/toy"))


def test_flags_are_hyphenated_and_switches_take_no_value():
    config = read("--inner-rate", "0.3", "--learn-rates", "--data-dir", "/data", "--resume")
    assert config.inner_rate == 0.3 and config.learn_rates and config.resume
    assert config.data_dir == Path("/data")


def test_a_preset_is_a_start_and_flags_win():
    assert read("--preset", "paper").inner_rate == 0.4
    config = read("--steps", "10", "--preset", "paper", "--out", "here")
    assert (config.steps, config.inner_rate, config.preset) == (10, 0.4, "paper")
    assert config.out == Path("here")
    assert read("--preset=many").seeds == (0, 1, 2, 3, 4)


def test_smoke_wins_over_a_preset_and_flags_over_smoke():
    config = read("--preset", "paper", "--smoke", "--inner-rate", "0.2")
    assert (config.steps, config.inner_rate, config.smoke) == (4, 0.2, True)


def test_smoke_in_a_value_is_no_switch():
    assert not read("--data", "smoke").smoke


@pytest.mark.parametrize("args", [("--preset", "none"), ("--preset=none",)])
def test_an_unknown_preset_names_the_known_ones(args):
    with pytest.raises(UserError, match="no preset 'none'; the presets are: paper, many"):
        read(*args)


@pytest.mark.parametrize(("flag", "value"), [("--runs", "0"), ("--steps", "0"), ("--seed", "-1")])
def test_numbers_that_make_no_sense(flag, value):
    with pytest.raises(UserError, match=f"{flag} is {value}; give at least"):
        read(flag, value)


def test_the_smallest_number_is_allowed_and_none_is_a_default():
    check_at_least(TrainingOptions(devices=None, steps=1), devices=1, steps=1)


@pytest.mark.parametrize(
    ("name", "value", "least"), [("inner_rate", -1e-9, 0), ("inner_rate", math.nan, 0)]
)
def test_numbers_below(name, value, least):
    with pytest.raises(UserError, match=f"--inner-rate is {value}; give at least {least}"):
        check_at_least(Config(**{name: value}), **{name: least})


def test_the_seeds():
    assert read("--seed", "3", "--runs", "2").seeds == (3, 4)


def test_a_run_that_ends_well(capsys):
    seen = []
    assert run_main(seen.append, "--seed", "3") == 0
    assert seen[0].seed == 3
    assert seen[0].out == Path("runs/test_command_line")


def test_an_error_is_one_sentence(capsys):
    def run(config):
        raise UserError("the folder is full; empty it.")

    assert run_main(run) == 2
    assert capsys.readouterr().err == "error: the folder is full; empty it.\n"


def test_debug_shows_the_traceback(capsys):
    def run(config):
        raise UserError("the folder is full; empty it.")

    assert run_main(run, "--debug") == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown and shown.endswith("error: the folder is full; empty it.\n")


def test_an_unknown_preset_is_one_sentence_too(capsys):
    assert run_main(print, "--preset", "none") == 2
    assert capsys.readouterr().err.startswith("error: There is no preset 'none'")


def test_a_programming_mistake_keeps_its_traceback():
    def run(config):
        raise ValueError("a mistake in the code")

    with pytest.raises(ValueError, match="a mistake in the code"):
        main(Config, run, args=[])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("args", [["--out", "a folder"], ["--resume", "--out", "a folder"]])
def test_a_run_that_was_stopped_says_how_to_go_on(capsys, number, args):
    def run(config):
        raise Stopped(120, number)

    assert run_main(run, *args) == 128 + number
    assert capsys.readouterr().err == (
        "Saved at step 120; go on with: python -m jaxfer.experiments.test_command_line "
        "--out 'a folder' --resume\n"
    )


def test_an_interruption_at_once(capsys):
    def run(config):
        raise KeyboardInterrupt

    assert run_main(run) == 130
    assert "Traceback" not in capsys.readouterr().err


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question(CommonOptions):
    """The settings of an experiment that does not train."""


def test_without_training_there_is_nothing_to_resume(capsys):
    def run(config):
        raise KeyboardInterrupt

    for flags, code in (([], 130), (["--resume"], 2), (["--steps", "3"], 2)):
        with pytest.raises(SystemExit) as ended:
            main(Question, run, args=flags)
        assert ended.value.code == code
    assert capsys.readouterr().err.startswith("Stopped.\n")
    with pytest.raises(UserError, match="--seed is -1; give at least 0"):
        parse(Question, ["--seed", "-1"])


def test_an_unknown_flag(capsys):
    assert run_main(print, "--inner-rat", "3") == 2
    assert "--inner-rate" in capsys.readouterr().err


def test_help_teaches(capsys):
    assert run_main(print, "--help") == 0
    shown = re.sub(r"[│╭╰─╮╯\s]+", " ", capsys.readouterr().out)
    assert "python -m jaxfer.experiments.test_command_line" in shown
    assert "The command line: presets, flags that win over them" in shown
    assert "Presets: paper, many" in shown
    for flag in ("--out DIR", "--seed N", "--runs N", "--data-dir DIR", "--resume", "--smoke"):
        assert flag in shown
    assert "The inner rate." in shown
    assert "{None}" not in shown and "--no-" not in shown
