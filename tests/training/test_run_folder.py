"""A run folder has one writer and one configuration; anything else is one clear sentence."""

import dataclasses
import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxfer.training.run_folder import (
    hardware,
    open_run_folder,
    versions,
    write_json,
    write_summary,
)
from jaxfer.typing import UserError


@dataclasses.dataclass(frozen=True)
class Config:
    out: Path | None = None
    resume: bool = False
    steps: int = 10
    sizes: tuple[int, ...] = (1, 2)
    rate: float = 0.1


def test_the_configuration_is_recorded(tmp_path):
    with open_run_folder(tmp_path / "a" / "b", Config(out=tmp_path)) as folder:
        recorded = json.loads((folder.path / "config.json").read_text())
    assert recorded == {
        "out": str(tmp_path),
        "resume": False,
        "steps": 10,
        "sizes": [1, 2],
        "rate": 0.1,
    }
    assert not folder.resume


def test_a_folder_that_holds_a_run_is_refused(tmp_path):
    with open_run_folder(tmp_path, Config()):
        pass
    with (
        pytest.raises(UserError, match="already holds a run; add --resume"),
        open_run_folder(tmp_path, Config(rate=0.2)),
    ):
        pass
    assert json.loads((tmp_path / "config.json").read_text())["rate"] == 0.1


def test_what_cannot_be_resumed_begins_anew_until_it_has_finished(tmp_path):
    with open_run_folder(tmp_path, Config(), resumable=False):
        pass
    with open_run_folder(tmp_path, Config(rate=0.2), resumable=False) as folder:
        assert json.loads((tmp_path / "config.json").read_text())["rate"] == 0.2
        write_summary(folder, {})
    with (
        pytest.raises(UserError, match="already holds a run; give another --out"),
        open_run_folder(tmp_path, Config(), resumable=False),
    ):
        pass
    (tmp_path / "summary.json").unlink()
    (tmp_path / "metrics.jsonl").touch()  # of an experiment that trains
    with (
        pytest.raises(UserError, match="already holds a run"),
        open_run_folder(tmp_path, Config(), resumable=False),
    ):
        pass


def test_resuming_with_the_same_configuration(tmp_path):
    with open_run_folder(tmp_path, Config()):
        pass
    config = Config(out=tmp_path, resume=True)
    with open_run_folder(tmp_path, config, resume=True) as folder:
        assert folder.resume


def test_resuming_names_what_differs(tmp_path):
    with open_run_folder(tmp_path, Config()):
        pass
    with (
        pytest.raises(UserError, match=r"rate is 0.1 there and 0.2 here; extra is absent there"),
        open_run_folder(tmp_path, {**vars(Config(rate=0.2)), "extra": 1}, resume=True),
    ):
        pass
    assert json.loads((tmp_path / "config.json").read_text())["rate"] == 0.1


def test_resuming_for_longer_only_where_that_is_the_same_run(tmp_path):
    with open_run_folder(tmp_path, Config()):
        pass
    longer = Config(steps=20)
    with (
        pytest.raises(UserError, match="steps is 10 there and 20 here"),
        open_run_folder(tmp_path, longer, resume=True),
    ):
        pass
    with open_run_folder(tmp_path, longer, resume=True, may_differ=["steps"]):
        pass
    assert json.loads((tmp_path / "config.json").read_text())["steps"] == 20


def test_resuming_where_there_is_nothing(tmp_path):
    with (
        pytest.raises(UserError, match="There is no run in .* to resume; check --out"),
        open_run_folder(tmp_path / "absent", Config(), resume=True),
    ):
        pass
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("content", ["", "{", "[1]", "3"])
def test_a_damaged_configuration(tmp_path, content):
    with open_run_folder(tmp_path, Config()):
        pass
    (tmp_path / "config.json").write_text(content)
    with (
        pytest.raises(UserError, match="config.json cannot be read"),
        open_run_folder(tmp_path, Config(), resume=True),
    ):
        pass


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path):
    with open_run_folder(tmp_path, Config()):
        with (
            pytest.raises(UserError, match="Another process is writing to"),
            open_run_folder(tmp_path, Config(), resume=True),
        ):
            pass
    with open_run_folder(tmp_path, Config(), resume=True):
        pass


def test_a_refused_folder_is_free_again(tmp_path):
    with open_run_folder(tmp_path, Config()):
        pass
    with pytest.raises(UserError, match="holds a run"), open_run_folder(tmp_path, Config()):
        pass
    with open_run_folder(tmp_path, Config(), resume=True):
        pass


def test_a_path_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="cannot be written"), open_run_folder(out, Config()):
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written"), open_run_folder(tmp_path, Config()):
        pass


def test_json_of_arrays_paths_and_what_is_not_finite(tmp_path):
    value = {
        "array": np.arange(3, dtype=np.float32),
        "device": jnp.ones(2),
        "nan": np.float32(np.nan),
        "inf": [float("inf")],
        "path": Path("a/b"),
        "flag": np.bool_(True),
        "config": Config(),
        3: None,
    }
    write_json(tmp_path / "a.json", value)
    read = json.loads((tmp_path / "a.json").read_text())
    assert read["array"] == [0, 1, 2] and read["device"] == [1, 1]
    assert read["nan"] is None and read["inf"] == [None]
    assert read["path"] == "a/b" and read["flag"] is True and read["3"] is None
    assert read["config"]["sizes"] == [1, 2]


def test_a_summary_that_cannot_be_written_leaves_the_old_one(tmp_path):
    with open_run_folder(tmp_path, Config()) as folder:
        write_summary(folder, {"seconds": 1})
        with pytest.raises(RecursionError):
            endless = []
            endless.append(endless)
            write_summary(folder, {"seconds": endless})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"seconds": 1}
    with pytest.raises(UserError, match="cannot be written"):
        write_json(tmp_path / "absent" / "a.json", {})


def test_versions_and_hardware():
    assert {"python", "jax", "jaxlib", "flax", "optax", "numpy"} <= versions().keys()
    found = hardware()
    assert found["backend"] == "cpu" and found["devices"] >= 1 and found["processes"] == 1
