"""A hook of mkdocs: the pages that are made from the project itself, and formulas as MathML."""

import ast
import html
import re
from pathlib import Path
from typing import Any

from docstrings import PACKAGE, markdown, public_names
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = PACKAGE.parent
LESSONS = ROOT / "colab" / "README.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds what is generated to the navigation."""
    packages = sorted({name.package for name in public_names()})
    sections = {next(iter(entry)): next(iter(entry.values())) for entry in config.nav}
    sections["Results"] += [f"results/{folder}/README.md" for folder in _recorded()]
    sections["Results"] += [{"Speed and memory": "benchmarks/README.md"}]
    if LESSONS.exists():
        sections["Start"] += [{"Notebooks": "notebooks.md"}]
    sections["Guides"] += ["commands.md", {"Contributing": "contributing.md"}]
    sections["Guides"] += [{"Changes": "changes.md"}]
    api = ["api/index.md", *({f"jaxfer.{name}": f"api/{name}.md"} for name in packages)]
    config.nav = [*config.nav, {"API": api}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of the API, of the results and of the commands."""
    pages = _api() | {"commands.md": _commands()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    for folder in [*(ROOT / "experiments").iterdir(), ROOT / "benchmarks"]:
        where = f"results/{folder.name}" if folder.parent.name == "experiments" else folder.name
        for file in sorted(folder.glob("*.png")):
            files.append(File.generated(config, f"{where}/{file.name}", abs_src_path=str(file)))
        for file in folder.glob("README.md"):
            # A folder is a page here.
            text = re.sub(r"(\]\(\.\./\w+)/?\)", r"\1/README.md)", file.read_text("utf-8"))
            files.append(File.generated(config, f"{where}/README.md", content=text))
    for name in ("CONTRIBUTING", "CHANGELOG"):
        page = {"CONTRIBUTING": "contributing.md", "CHANGELOG": "changes.md"}[name]
        files.append(File.generated(config, page, abs_src_path=str(ROOT / f"{name}.md")))
    if LESSONS.exists():
        # The notebooks are not part of the site: what stays are the links to where they open.
        text = re.sub(r"\[([^]]+)\]\((?!https?:)[^)]+\)", r"\1", LESSONS.read_text("utf-8"))
        files.append(File.generated(config, "notebooks.md", content=text))
    return files


def on_page_content(html_text: str, **_: Any) -> str:
    """Writes formulas as MathML, for browsers without a script; keeps flags and intervals whole."""
    html_text = re.sub(
        r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>',
        lambda m: _formula(html.unescape(m[3]), block=m[2] == "["),
        html_text,
        flags=re.DOTALL,
    )
    prose = re.sub(r"<(pre|code|math)\b.*?</\1>", "", html_text, flags=re.DOTALL)
    if left := re.search(r"\\[a-zA-Z]+[^<\n]*", prose):
        raise PluginError(f"this formula stands in the text as it was written: {left[0]}")
    # A browser would break lines after two dashes, and about plus and minus.
    html_text = re.sub(r"(?<=\d) ± (?=\d)", "\u00a0±\u00a0", html_text)
    return re.sub(r"<code>(--[^<]{,24}</code>)", r'<code class="flag">\1', html_text)


def _formula(latex: str, *, block: bool) -> str:
    latex = latex.replace(r"\arg", r"\operatorname{arg}")
    try:
        formula = convert(latex.strip(), display="block" if block else "inline")
    except Exception as error:
        raise PluginError(f"this formula cannot be read: {latex}") from error
    formula = formula.replace(r">\|<", ">&#x2016;<")  # it misses this one after \big
    # What it does not know or misses it passes over without a word.
    plain = re.sub(r"\\[{}]", "", latex)
    if plain.count("{") != plain.count("}") or re.search(r">[^<]*\\", formula):
        raise PluginError(f"this formula has an unknown command or an open brace: {latex}")
    return f'<div class="formula">{formula}</div>' if block else formula


def _recorded() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "experiments").glob("*/README.md"))


def _api() -> dict[str, str]:
    """A page for each package, with every name of its ``__all__``."""
    names = public_names()
    pages = {}
    rows = []
    for package in sorted({name.package for name in names}):
        file = PACKAGE / package / "__init__.py"
        doc = _docstring(file if file.exists() else PACKAGE / f"{package}.py")
        own = [name for name in names if name.package == package]
        for name in own:
            _check_documented(name.path)
        parts = [f"# jaxfer.{package}", doc]
        parts += [f"::: {name.path}" for name in own]
        pages[f"api/{package}.md"] = "\n\n".join(parts)
        listed = ", ".join(f"[`{name.name}`][{name.path}]" for name in own)
        rows.append(f"## [jaxfer.{package}]({package}.md)\n\n{doc.splitlines()[0]}\n\n{listed}")
    lead = (
        "# API\n\nEvery public name of every package. The functions of `divergences` and `losses` "
        "are names of `jaxfer` itself, too: `from jaxfer import mmd`."
    )
    pages["api/index.md"] = "\n\n".join([lead, *rows])
    return pages


def _check_documented(path: str) -> None:
    """A public function or class without a docstring ends the build."""
    module, _, name = path.rpartition(".")
    file = ROOT.joinpath(*module.split("."))
    file = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            if not ast.get_docstring(node):
                raise PluginError(f"{path} is public and has no docstring")
            return
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if name in [getattr(target, "id", None) for target in targets]:
            return
    raise PluginError(f"{path} is public and is not defined in {file.relative_to(ROOT)}")


def _commands() -> str:
    """What each experiment says of itself."""
    parts = [
        "# Commands",
        "Each experiment is one file that is read from top to bottom; this is how it begins. Every "
        "one of them has `--help`, `--smoke` (does it run at all?) and `--out`; those that train "
        "have `--resume`.",
    ]
    for file in sorted((PACKAGE / "experiments").glob("*.py")):
        if 'if __name__ == "__main__":' in file.read_text(encoding="utf-8"):
            text = "\n".join(map(_prose, _docstring(file).split("\n")))
            parts += [f"## {file.stem}", markdown(text, {})]
    return "\n\n".join(parts)


def _prose(line: str) -> str:
    """Marks flags and links records, except in lines of code."""
    if line.startswith(" "):
        return line
    line = re.sub(r"(?<![\w`-])--[a-z][\w-]*", r"`\g<0>`", line.replace("<", "&lt;"))
    return re.sub(r"(experiments)/(\w+)/README\.md", r"[`\1/\2`](results/\2/README.md)", line)


def _docstring(file: Path) -> str:
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
