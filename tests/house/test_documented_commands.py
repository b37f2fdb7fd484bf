"""Every command and every example of the documentation is one that exists, and runs."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from jaxfer.experiments.command_line import parse

ROOT = Path(__file__).parents[2]
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    *ROOT.glob("experiments/*/README.md"),
    *ROOT.glob("jaxfer/experiments/*.py"),
]
COMMAND = re.compile(r"python -m (jaxfer(?:\.[a-z]\w*)*)(?!\.?[\w*${])((?:[^`\n]|`(?=\w))*)")
EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


WITH_EXAMPLES = [
    pytest.param(page, id=str(page.relative_to(ROOT)), marks=pytest.mark.slow)
    for page in PAGES
    if EXAMPLE.search(page.read_text(encoding="utf-8"))
]


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Modules and arguments of all commands; what follows ``#`` is a comment, as in a shell."""
    text = re.sub(r" *\\\n +", " ", text)
    found = []
    for module, rest in COMMAND.findall(text):
        rest = re.split(r"\s#\s|\s{2,}#|[|;>]|\.\.\.", rest)[0].rstrip(".,:)'\" ")
        found.append((module, shlex.split(rest.replace("$method", "maml"))))
    return found


def documented() -> dict[str, set[tuple[str, ...]]]:
    """Arguments of every command by its module."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for page in PAGES:
        for module, arguments in commands(page.read_text(encoding="utf-8")):
            found.setdefault(module, set()).add(tuple(arguments))
    return found


DOCUMENTED = documented()
EXPERIMENTS = sorted(name for name in DOCUMENTED if name.startswith("jaxfer.experiments."))


def test_commands_are_found():
    text = "see\n    python -m jaxfer.experiments.a --x 1 \\\n        --y  # why\nor `python -m jaxfer.b`."
    assert commands(text) == [
        ("jaxfer.experiments.a", ["--x", "1", "--y"]),
        ("jaxfer.b", []),
    ]
    assert len(EXPERIMENTS) >= 8
    assert sum(map(len, DOCUMENTED.values())) > 40


def test_the_modules_of_commands_can_be_run():
    for module in DOCUMENTED:
        path = ROOT.joinpath(*module.split("."))
        path = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        assert path.exists(), f"the documentation runs {module}, which is not there"
        assert '__name__ == "__main__"' in path.read_text(encoding="utf-8"), module


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_understands_its_commands(name):
    module = importlib.import_module(name)
    for arguments in sorted(DOCUMENTED[name] - {("--help",)}):
        try:
            parse(module.Config, arguments, presets=getattr(module, "PRESETS", None))
        except (SystemExit, ValueError) as error:
            pytest.fail(f"python -m {name} {shlex.join(arguments)} is not understood: {error}")


@pytest.mark.parametrize("page", WITH_EXAMPLES)
def test_the_examples_of_a_page_run_one_after_the_other(page):
    names: dict[str, object] = {}
    for example in EXAMPLE.findall(page.read_text(encoding="utf-8")):
        exec(compile(example, str(page), "exec"), names)
    assert len(names) > 1


LINKED = [*ROOT.glob("*.md"), *ROOT.glob("experiments/*/README.md"), ROOT / "benchmarks/README.md"]


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    inside = [link for link in links if not re.match(r"[a-z]+:", link)]
    missing = [link for link in inside if not (page.parent / link).exists()]
    assert not missing, f"{page.relative_to(ROOT)} links to what is not there: {missing}"


def test_the_readmes_say_the_same_in_both_languages():
    english, chinese = (
        (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh.md")
    )
    assert commands(english) == commands(chinese)

    def code(text):
        return [re.sub(r"#.*", "", example) for example in EXAMPLE.findall(text)]

    def figures(text):
        rows = [line for line in text.splitlines() if line.startswith("| ") and "±" in line]
        return [re.findall(r"\d+\.\d+", row) for row in rows]

    def rooms(text):
        return re.findall(r"^\| \[`([\w/]+)`\]", text, re.M)

    assert code(english) == code(chinese)
    assert len(figures(english)) > 5
    assert figures(english) == figures(chinese)
    assert rooms(english) == rooms(chinese)
