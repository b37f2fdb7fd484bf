"""Markdown of jaxfer's docstrings, and the public names, read without importing anything."""

import ast
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import griffe

PACKAGE = Path(__file__).parents[2] / "jaxfer"
SECTIONS = {
    "Args:": "Arguments",
    "Attributes:": "Attributes",
    "Returns:": "Returns",
    "Yields:": "Yields",
    "Raises:": "Raises",
}


class PublicName(NamedTuple):
    """A name of a package's ``__all__``, and where it is defined."""

    package: str
    name: str
    path: str


def public_names() -> list[PublicName]:
    """All public names, package by package."""
    found = []
    for module in sorted(PACKAGE.iterdir()):
        file = module / "__init__.py" if module.is_dir() else module
        if module.stem.startswith("__") or file.suffix != ".py" or not file.exists():
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        origins = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        names = _listed(tree)
        if names is None and not module.is_dir():  # jaxfer.typing: what it defines is public
            names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        here = f"jaxfer.{module.stem}"
        for name in names or ():
            found.append(PublicName(module.stem, name, origins.get(name, f"{here}.{name}")))
    return found


def _listed(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return list(ast.literal_eval(node.value))
    return None


def markdown(text: str, links: dict[str, str]) -> str:
    """Markdown of a docstring: formulas, links, sections and examples.

    Args:
      text: the docstring, its indentation cleaned.
      links: from a public name to where it is defined.
    """
    text = re.sub(r":math:`([^`]*)`", lambda m: rf"\({' '.join(m[1].split())}\)", text)
    text = re.sub(r"(?<!`)`([\w.]+)`(?!`)", lambda m: _link(m[1], links), text)
    text = re.sub(r":(?:func|class):(\[[^]]*\]\[[^]]*\]|`[^`]*`)", r"\1", text)
    text = re.sub(r"^(Sources?[^:\n]*:) ", r"*\1* ", text, flags=re.MULTILINE)
    blocks, lines = [], text.split("\n")
    while lines:
        if lines[0] in SECTIONS:
            title = SECTIONS[lines.pop(0)]
            body = _take_indented(lines, 1)
            blocks += ["", f"**{title}**", "", *_section(title, body), ""]
        else:
            blocks.append(lines.pop(0))
    return "\n".join(_formulas_and_examples(blocks))


def _link(name: str, links: dict[str, str]) -> str:
    path = links.get(name.rpartition(".")[2])
    return f"[`{name}`][{path}]" if path else f"`{name}`"


def _take_indented(lines: list[str], least: int) -> list[str]:
    """Takes from the front all lines that are empty or indented."""
    taken = []
    while lines and (not lines[0].strip() or _indent(lines[0]) >= least):
        taken.append(lines.pop(0))
    while taken and not taken[-1].strip():
        lines.insert(0, taken.pop())
    return taken


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _section(title: str, body: list[str]) -> list[str]:
    body = textwrap.dedent("\n".join(body)).strip("\n").split("\n")
    if title in ("Returns", "Yields"):
        return body
    items = []
    for line in body:
        if line and _indent(line) == 0:
            names, colon, rest = line.partition(":")
            items.append(f"- `{names}`{colon}{rest}" if colon else f"- {line}")
        else:
            items.append(f"  {line}" if line else "")  # four more than the dash
    return items


def _formulas_and_examples(lines: list[str]) -> list[str]:
    out: list[str] = []
    lines = list(lines)
    while lines:
        line = lines.pop(0)
        pad = line[: _indent(line)]
        if line.strip().startswith(".. math::"):
            body = [line.strip().removeprefix(".. math::"), *_take_indented(lines, len(pad) + 1)]
            formula = " ".join(" ".join(body).split())
            out += ["", rf"{pad}\[{formula}\]", ""]
        elif line.strip().startswith(">>>"):
            example = [line]
            while lines and lines[0].strip():
                example.append(lines.pop(0))
            out += ["", f"{pad}```pycon", *example, f"{pad}```", ""]
        else:
            out.append(line)
    return out


class Docstrings(griffe.Extension):
    """Gives mkdocstrings Markdown in the place of each docstring."""

    def __init__(self) -> None:
        self.links = {name.name: name.path for name in public_names()}

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = markdown(inspect.cleandoc(obj.docstring.value), self.links)
