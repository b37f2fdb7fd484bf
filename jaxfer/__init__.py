"""Transfer learning in JAX, as pure functions.

The functions of ``divergences`` and ``losses`` are here by their own names, so are ``cite``, and
``load_model`` and ``predict`` of ``inference``, and every package as an attribute. All of it is
imported on first use: ``import jaxfer`` alone does not even import JAX.
"""

import importlib
import pkgutil
from typing import Any

__version__ = "0.1.0"

# The packages whose public names are also names of `jaxfer` itself.
_FLATTENED = ("divergences", "losses")
# Names of `jaxfer` itself that stand elsewhere, some in a package that needs more than JAX.
_LENT = {"cite": "references", "load_model": "inference", "predict": "inference"}
_PACKAGES = frozenset(module.name for module in pkgutil.iter_modules(__path__))


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _LENT:
        return getattr(importlib.import_module(f"{__name__}.{_LENT[name]}"), name)
    if not name.startswith("_"):
        for package in _public_packages():
            if name in package.__all__:
                globals()[name] = value = getattr(package, name)
                return value
    raise AttributeError(
        f"jaxfer has no {name!r}; dir(jaxfer) lists its functions and packages, "
        f"and a package's own names are imported from it: from jaxfer.meta import ..."
    )


def __dir__() -> list[str]:
    functions = {name for package in _public_packages() for name in package.__all__}
    return sorted(functions | _PACKAGES | set(_LENT) | {"__version__"})


def _public_packages() -> list[Any]:
    names = [name for name in _FLATTENED if name in _PACKAGES]
    return [importlib.import_module(f"{__name__}.{name}") for name in names]
