"""A package imports only from ranks below its own; up to `evaluation` only JAX, NumPy and optax."""

import ast
import sys
from pathlib import Path

import pytest

RANKS = {
    "typing": 0,
    "references": 0,
    "divergences": 1,
    "adapters": 2,
    "losses": 2,
    "adaptation": 3,
    "meta": 3,
    "weighting": 3,
    "transferability": 3,
    "evaluation": 3,
    "models": 4,
    "data": 4,
    "training": 4,
    "report": 4,
    "inference": 5,
    "experiments": 6,
}
PURE = 3
ALLOWED_IN_PURE = {"jax", "numpy", "optax", "jaxfer"} | set(sys.stdlib_module_names)

PACKAGE = Path(__file__).parents[2] / "jaxfer"
MODULES = sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by(source: str, module: str, *, is_package: bool) -> list[tuple[int, str]]:
    """Line and absolute name of all that the source imports, inside functions too."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = module.split(".") if is_package else module.split(".")[:-1]
            base = parent[: len(parent) - node.level + 1] if node.level else []
            origin = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            if origin == "jaxfer":
                found += [(node.lineno, f"jaxfer.{alias.name}") for alias in node.names]
            else:
                found.append((node.lineno, origin))
        elif isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            argument = node.args[0]
            if name in ("import_module", "__import__") and isinstance(argument, ast.Constant):
                found.append((node.lineno, str(argument.value)))
    return found


def wrong_imports(source: str, module: str, *, is_package: bool = False) -> list[str]:
    own = module.split(".")[1] if "." in module else None
    if own is not None and own not in RANKS:
        return [f"{module}: the package has no rank; give it one in this test and in the design"]
    wrong = []
    for line, name in imported_by(source, module, is_package=is_package):
        root, *rest = name.split(".")
        where = f"{module}, line {line}: imports {name}"
        if own is None:
            if root not in sys.stdlib_module_names:
                wrong.append(f"{where}; the top level imports lazily")
        elif root == "jaxfer":
            package = rest[0] if rest else ""
            if package.startswith("__"):
                continue  # jaxfer.__version__
            if package not in RANKS:
                wrong.append(f"{where}; name the package that it comes from")
            elif package != own and RANKS[package] >= RANKS[own]:
                kind = "upward" if RANKS[package] > RANKS[own] else "sideways"
                wrong.append(f"{where}, {kind}")
        elif RANKS[own] <= PURE and root not in ALLOWED_IN_PURE:
            wrong.append(f"{where}; up to `evaluation` only JAX, NumPy and optax")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_downward(path):
    wrong = wrong_imports(
        path.read_text(encoding="utf-8"), module_name(path), is_package=path.name == "__init__.py"
    )
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("jaxfer.meta.maml", "from jaxfer.models.conv import Conv", "upward"),
        ("jaxfer.meta.maml", "import jaxfer.models", "upward"),
        ("jaxfer.meta.maml", "def f():\n    from jaxfer.data import glyphs", "upward"),
        ("jaxfer.meta.maml", "from ..models import conv", "upward"),
        ("jaxfer.meta.maml", "from jaxfer import models", "upward"),
        ("jaxfer.meta.maml", "import importlib\nimportlib.import_module('jaxfer.data')", "upward"),
        ("jaxfer.meta.maml", "from jaxfer.evaluation import intervals", "sideways"),
        ("jaxfer.typing", "from jaxfer.losses import entropy", "upward"),
        ("jaxfer.experiments.a", "from jaxfer import mmd", "name the package"),
        ("jaxfer.experiments.a", "import jaxfer", "name the package"),
        ("jaxfer.meta.maml", "from flax import nnx", "only JAX"),
        ("jaxfer.tricks.a", "", "no rank"),
        ("jaxfer", "import jax", "lazily"),
    ],
)
def test_a_wrong_import_is_seen(module, source, complaint):
    assert any(complaint in line for line in wrong_imports(source, module))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("jaxfer.meta.maml", "from jaxfer.meta.adapt import adapt\nfrom .rules import sgd"),
        ("jaxfer.meta.maml", "from jaxfer.typing import Task\nimport jax.numpy as jnp, optax"),
        ("jaxfer.experiments.a", "from jaxfer import __version__\nimport tyro"),
    ],
)
def test_a_right_import_is_let_be(module, source):
    assert wrong_imports(source, module) == []
