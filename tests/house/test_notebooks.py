"""The lessons of colab/: each notebook is its py:percent file, has run, and holds what it claims."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FOLDER = Path(__file__).parents[2] / "colab"
LESSONS = sorted(FOLDER.glob("[0-9]_*.py"))
# What tests are hurried by, and where this machine has data: a reader has neither.
SET_ELSEWHERE = ("XLA_FLAGS", "JAXFER_DATA_DIR")
each_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def build():
    for name in ("jupytext", "nbclient"):
        pytest.importorskip(name, reason="of the extra colab, which the extra test holds")
    specification = importlib.util.spec_from_file_location("build", FOLDER / "build.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def read(lesson):
    return json.loads(lesson.with_suffix(".ipynb").read_text(encoding="utf-8"))


def test_there_are_lessons_and_nothing_else():
    assert LESSONS
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {path.stem for path in LESSONS}
    assert [path.name[0] for path in LESSONS] == sorted({path.name[0] for path in LESSONS})


@each_lesson
def test_the_notebook_is_made_of_its_file(build, lesson):
    made, found = build.make_notebook(lesson).cells, read(lesson)["cells"]
    texts = [
        [(cell["cell_type"], "".join(cell["source"])) for cell in side] for side in (made, found)
    ]
    assert texts[0] == texts[1], "run python colab/build.py " + lesson.name


@each_lesson
def test_the_notebook_holds_a_run_and_a_picture(lesson):
    cells = read(lesson)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [
        output
        for output in outputs
        if output["output_type"] == "error" or output.get("name") == "stderr"
    ]
    assert lesson.with_suffix(".ipynb").stat().st_size < 300_000


@each_lesson
def test_a_lesson_has_badge_equation_exercise_and_claims(build, lesson):
    cells = read(lesson)["cells"]
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert f"/colab/{lesson.stem}.ipynb)" in "".join(cells[0]["source"])
    assert "$$" in text and "## Exercise" in text
    last = "".join(cells[-1]["source"])
    assert last.startswith("# What this notebook claims.") and re.search(r"^assert ", last, re.M)
    for name in re.findall(r"\]\(([^):#]+)\)", text):
        assert (FOLDER / name).exists(), name


@each_lesson
def test_no_line_is_so_long_that_colab_scrolls(lesson):
    assert max(map(len, lesson.read_text(encoding="utf-8").splitlines())) <= 100


def test_the_table_names_every_lesson(build):
    table = (FOLDER / "README.md").read_text(encoding="utf-8")
    where = build.REPOSITORY.removeprefix("https://github.com/")
    for lesson in LESSONS:
        assert f"({lesson.stem}.ipynb)" in table
        assert f"/github/{where}/blob/{build.BRANCH}/colab/{lesson.stem}.ipynb)" in table


def test_on_colab_alone_it_installs_and_keeps_the_accelerators_jax(build, tmp_path, monkeypatch):
    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        subprocess, "run", lambda command, **options: calls.append((command, options))
    )
    exec(build.INSTALL, {})
    assert not calls and not list(tmp_path.iterdir())
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    exec(build.INSTALL, {})
    [(command, options)] = calls
    assert command[-1] == f"git+{build.REPOSITORY}" and options["check"]
    assert "--quiet" in command and "--upgrade" not in command
    kept = Path(command[command.index("--constraint") + 1]).read_text(encoding="utf-8").split()
    for name in ("jax", "jaxlib", "numpy"):
        assert f"{name}=={importlib.metadata.version(name)}" in kept


@pytest.mark.slow
@each_lesson
def test_a_short_run_holds_what_the_lesson_claims(lesson):
    result = subprocess.run(
        [sys.executable, str(FOLDER / "build.py"), "--small", "--check", str(lesson)],
        env={name: os.environ[name] for name in os.environ if name not in SET_ELSEWHERE},
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]
