"""Imports every module of the packages that need only JAX and optax, and prints their names.

CI runs it in an environment that holds nothing else. With ``--block`` it refuses, in an environment
that holds everything, whatever JAX and optax do not themselves require.
"""

import importlib
import importlib.abc
import importlib.metadata
import pkgutil
import re
import sys

import jaxfer

PURE = (
    "typing",
    "references",
    "divergences",
    "adapters",
    "losses",
    "adaptation",
    "meta",
    "weighting",
    "transferability",
    "evaluation",
)


def required_by(*distributions: str) -> set[str]:
    """Top-level names of these distributions and of all that they require, extras left out."""
    names_of: dict[str, set[str]] = {}
    for name, providers in importlib.metadata.packages_distributions().items():
        for provider in providers:
            names_of.setdefault(canonical(provider), set()).add(name)
    found: set[str] = set()
    names: set[str] = set()
    waiting = [canonical(name) for name in distributions]
    while waiting:
        distribution = waiting.pop()
        if distribution in found:
            continue
        found.add(distribution)
        names |= names_of.get(distribution, set())
        try:
            required = importlib.metadata.requires(distribution) or []
        except importlib.metadata.PackageNotFoundError:  # for another platform or Python
            continue
        waiting += [canonical(re.match(r"[\w.-]+", r)[0]) for r in required if "extra ==" not in r]
    return names


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Blocker(importlib.abc.MetaPathFinder):
    """Stands before every other finder and knows nothing of what it refuses."""

    def __init__(self, refused: set[str]):
        self.refused = refused

    def find_spec(self, fullname, path=None, target=None):
        if fullname.split(".")[0] in self.refused:
            raise ModuleNotFoundError(f"{fullname} is neither of JAX nor of optax", name=fullname)
        return None


def refused() -> set[str]:
    """Top-level names of everything installed that JAX and optax do without."""
    installed = set(importlib.metadata.packages_distributions())
    return installed - required_by("jax", "jaxlib", "optax") - {"jaxfer"}


def import_everything() -> list[str]:
    imported = []
    for module in pkgutil.iter_modules(jaxfer.__path__):
        if module.name not in PURE:
            continue
        top = importlib.import_module(f"jaxfer.{module.name}")
        imported.append(top.__name__)
        if module.ispkg:
            for inner in pkgutil.walk_packages(top.__path__, f"{top.__name__}."):
                imported.append(importlib.import_module(inner.name).__name__)
    return imported


if __name__ == "__main__":
    if "--block" in sys.argv:
        sys.meta_path.insert(0, Blocker(refused()))
    print("\n".join(import_everything()))
