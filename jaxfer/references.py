"""The papers behind the methods, as BibTeX: one file, ``references.bib``, which the wheel holds."""

import difflib
import importlib.resources
import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

__all__ = ["bibtex", "cite", "reference_keys"]


def cite(*names: str) -> None:
    """Prints the BibTeX entry of a paper.

    Args:
      *names: keys of entries, such as ``"dann"``, or names of this library that an entry stands
        behind, such as ``"domain_adversarial"``; see :func:`reference_keys`.

    Raises:
      ValueError: a name that no entry has, with those that are spelled nearly so.

    >>> cite("reptile")
    @misc{reptile,
      author = {Alex Nichol and Joshua Achiam and John Schulman},
      title = {{On first-order meta-learning algorithms}},
      year = {2018},
      eprint = {1803.02999},
      archiveprefix = {arXiv},
    }
    """
    print(bibtex(*names))


def bibtex(*names: str) -> str:
    """The BibTeX entries of some papers, or of all.

    Args:
      *names: as in :func:`cite`; none for all entries.

    Returns:
      The entries in the order of the names, each once, with an empty line between them.

    Raises:
      ValueError: a name that no entry has, with those that are spelled nearly so.

    >>> bibtex("maml", "fomaml") == bibtex("maml")
    True
    >>> bibtex("damn")
    Traceback (most recent call last):
        ...
    ValueError: no reference is called 'damn'; nearly so are 'dan', 'dsan', 'dann'; ...
    """
    entries, aliases = _entries(), _aliases()
    chosen: dict[str, str] = {}
    for name in names or entries:
        key = aliases.get(name)
        if key is None:
            near = difflib.get_close_matches(str(name), aliases, n=3)
            hint = f"; nearly so are {', '.join(map(repr, near))}" if near else ""
            raise ValueError(
                f"no reference is called {name!r}{hint}; jaxfer.references.reference_keys() lists "
                "them all."
            )
        chosen[key] = re.sub(r"^  ids = .*\n", "", entries[key], flags=re.MULTILINE)
    return "\n\n".join(chosen.values())


def reference_keys() -> list[str]:
    """The keys of all entries.

    Returns:
      The keys, sorted.

    >>> reference_keys()[:3]
    ['a_distance', 'adabn', 'adda']
    """
    return sorted(_entries())


@cache
def _entries() -> Mapping[str, str]:
    text = importlib.resources.files("jaxfer").joinpath("references.bib").read_text("utf-8")
    found = re.findall(r"^(@\w+\{(\w+),\n.*?^\})", text, flags=re.MULTILINE | re.DOTALL)
    return MappingProxyType({key: entry for entry, key in found})


@cache
def _aliases() -> Mapping[str, str]:
    """From each key, and each name under ``ids``, to the key."""
    aliases = {key: key for key in _entries()}
    for key, entry in _entries().items():
        if listed := re.search(r"^  ids = \{(.*)\},$", entry, flags=re.MULTILINE):
            aliases |= dict.fromkeys(listed[1].split(", "), key)
    return MappingProxyType(aliases)
