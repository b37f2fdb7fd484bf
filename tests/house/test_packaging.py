"""What a fresh machine meets: requirements, pins, file names, nothing of the maker's machine."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIREMENTS = [
    *PROJECT["project"]["dependencies"],
    *(r for extra in PROJECT["project"]["optional-dependencies"].values() for r in extra),
]
PINS = [
    line
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]

# Written in pieces, so that this file does not match itself.
_HOSTS = ["py" + r"pi\.org", "python" + r"hosted\.org", "download\\." + r"pytorch\.org"]
_FOLDERS = ["root", "home", "Users", "work", "opt", "mnt", "tmp/env"]
FORBIDDEN = re.compile(rf"(?<![\w.])/({'|'.join(_FOLDERS)})/|" + "|".join(_HOSTS))


def project_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_requirements_have_lower_bounds_only(requirement):
    parsed = Requirement(requirement)
    assert parsed.url is None
    operators = {specifier.operator for specifier in parsed.specifier}
    assert operators <= {">="}, f"{requirement}: an upper bound makes a library stop installing"
    assert operators or parsed.name == "jaxfer", f"{requirement} has no lower bound"


@pytest.mark.parametrize("pin", PINS)
def test_constraints_are_exact_and_name_no_host(pin):
    assert re.fullmatch(r"[\w.-]+==[\w.]+(; python_version (<|>=) '3\.\d+')?", pin)


def test_constraints_lie_within_the_requirements():
    parsed = [Requirement(text) for text in REQUIREMENTS]
    pins = [Requirement(pin) for pin in PINS]
    for pin in pins:
        version = next(iter(pin.specifier)).version
        for requirement in parsed:
            if canonicalize_name(requirement.name) == canonicalize_name(pin.name):
                assert requirement.specifier.contains(version), pin
    pinned = {canonicalize_name(pin.name) for pin in pins}
    assert {canonicalize_name(requirement.name) for requirement in parsed} - {"jaxfer"} <= pinned


def test_the_suite_holds_the_doctests_and_turns_warnings_into_errors():
    options = PROJECT["tool"]["pytest"]["ini_options"]
    assert "jaxfer" in options["testpaths"]
    assert "--doctest-modules" in options["addopts"]
    assert options["filterwarnings"][0] == "error"


def test_the_readme_gives_the_two_commands():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in readme
    assert "make test" in readme


def test_no_file_is_named_after_nothing():
    vague = {"utils", "util", "helpers", "helper", "misc", "common"}
    names = [path.relative_to(ROOT) for path in project_files()]
    assert not [str(name) for name in names if vague & {Path(part).stem for part in name.parts}]


def test_no_text_names_a_machine_or_a_registry():
    found = []
    for path in project_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if match := FORBIDDEN.search(line):
                found.append(f"{path.relative_to(ROOT)}, line {number}: {match[0]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("see " + "/ho" + "me/someone/file", True),
        ("--index-url https://" + "pypi" + ".org/simple", True),
        ("cp x " + "/wo" + "rk/y", True),
        ("JAXFER_DATA_DIR=../shared/data", False),
        ("the ~/.cache folder, framework/optimizer, and/or", False),
    ],
)
def test_such_a_line_is_seen(line, wrong):
    assert bool(FORBIDDEN.search(line)) == wrong
