"""Every public name is documented: what it computes, takes and gives, and an example."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from typing import NamedTuple, get_origin, get_type_hints

import pytest

import jaxfer

PACKAGES = [module.name for module in pkgutil.iter_modules(jaxfer.__path__)]


def public_names(package: str) -> list[str]:
    module = importlib.import_module(f"jaxfer.{package}")
    if package == "typing":
        return [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        ]
    return list(getattr(module, "__all__", []))


def complaints(symbol: object) -> list[str]:
    """What a symbol's docstring lacks; nothing for a constant or an alias."""
    if get_origin(symbol) is not None or not (inspect.isclass(symbol) or callable(symbol)):
        return []
    if getattr(symbol, "__module__", "").split(".")[0] in ("typing", "types"):
        return []
    doc = inspect.cleandoc(symbol.__doc__ or "")
    # A NamedTuple or a dataclass writes its own signature where there is no docstring.
    if not doc or doc.startswith(f"{getattr(symbol, '__name__', '?')}("):
        return ["has no docstring"]
    lacks = []
    summary = doc.split("\n\n")[0]
    if "\n" in summary or not summary.endswith((".", ":")):
        lacks.append("does not begin with one line that ends with a full stop")
    if inspect.isclass(symbol) and issubclass(symbol, Exception):
        return lacks
    if getattr(symbol, "_is_protocol", False):
        return lacks
    documented = section(doc, "Args", "Attributes")
    names = parameters(symbol)
    missing = [
        name for name in names if not re.search(rf"^ *[\w, *`]*\b{name}\b", documented, re.M)
    ]
    if missing:
        lacks.append(f"does not say what these are, under Args: or Attributes:: {missing}")
    if not inspect.isclass(symbol) and returns_something(symbol):
        if not section(doc, "Returns", "Yields"):
            lacks.append("has no Returns:")
    if ">>>" not in doc:
        lacks.append("has no example (>>>)")
    return lacks


def parameters(symbol: object) -> list[str]:
    fields = getattr(symbol, "_fields", None)
    if fields is not None:
        return list(fields)
    try:
        signature = inspect.signature(symbol)
    except ValueError:
        return []
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind not in kinds and not name.startswith("_")
    ]


def returns_something(symbol: object) -> bool:
    try:
        hints = get_type_hints(symbol)
    except (NameError, TypeError):
        hints = getattr(symbol, "__annotations__", {})
    return hints.get("return", object) not in (None, type(None))


def section(doc: str, *titles: str) -> str:
    found = re.search(rf"^({'|'.join(titles)}):\n((?:[ \t]+.*\n?|\n)+)", doc + "\n", re.M)
    return found[2] if found else ""


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_is_public(package):
    module = importlib.import_module(f"jaxfer.{package}")
    assert (module.__doc__ or "").strip(), f"jaxfer.{package} has no docstring"
    if package in ("typing", "experiments"):  # a module; a folder of commands
        return
    assert hasattr(module, "__all__"), f"jaxfer/{package}/__init__.py has no __all__"
    unknown = [name for name in module.__all__ if not hasattr(module, name)]
    assert not unknown, f"jaxfer.{package}.__all__ names what is not there: {unknown}"
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_symbol_is_documented(package):
    module = importlib.import_module(f"jaxfer.{package}")
    wrong = [
        f"jaxfer.{package}.{name} {complaint}"
        for name in public_names(package)
        for complaint in complaints(getattr(module, name))
    ]
    assert not wrong, "\n".join(wrong)


def documented(x: float, *, rate: float = 0.1) -> float:
    """Doubles a number.

    Args:
      x: the number.
      rate: ignored.

    Returns:
      Twice the number.

    >>> documented(1.0)
    2.0
    """
    return 2 * x


class Documented(NamedTuple):
    """Two numbers.

    Attributes:
      a, b: the numbers.

    >>> Documented(1, 2).b
    2
    """

    a: int
    b: int


class Bare(NamedTuple):
    a: int


@pytest.mark.parametrize(
    "symbol", [documented, Documented, UserWarning, 3.0, NamedTuple, Callable[[int], int]]
)
def test_what_is_documented_passes(symbol):
    assert complaints(symbol) == []


@pytest.mark.parametrize(
    ("remove", "complaint"),
    [
        ("Doubles a number.", "does not begin"),
        ("rate: ignored.", "does not say what these are, under Args: or Attributes:: ['rate']"),
        ("Returns:", "has no Returns:"),
        (">>>", "has no example (>>>)"),
    ],
)
def test_what_is_missing_is_named(remove, complaint):
    def copy(x: float, *, rate: float = 0.1) -> float:
        return 2 * x

    copy.__doc__ = inspect.cleandoc(documented.__doc__).replace(remove, "")
    assert complaint in complaints(copy)[0]


def test_a_generated_docstring_is_none():
    assert complaints(Bare) == ["has no docstring"]
