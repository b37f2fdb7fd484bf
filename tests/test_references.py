"""Every paper that a docstring names has its entry, and methods are found by their own names."""

import importlib
import inspect
import re
import subprocess
import sys

import pytest

import jaxfer
from jaxfer.references import _entries, bibtex, cite, reference_keys

PACKAGES = ("divergences", "adapters", "losses", "adaptation", "meta", "transferability")
PACKAGES += ("evaluation", "models", "training")
# `Ganin et al. 2016`, `Rahimi and Recht 2007`, `Student 1908`; also `Ben Zaken et al. 2022`.
NAMED = re.compile(r"((?:Ben )?[A-Z][\w'’-]+)(?: et al\.| and [A-Z][\w-]+)? ((?:19|20)\d\d)\b")


def field(entry: str, name: str) -> str:
    found = re.search(rf"^  {name} = \{{(.*)\}},$", entry, re.M)
    return found[1] if found else ""


def surname(author: str) -> str:
    """The last word of a name, or what stands in braces at its end."""
    return re.search(r"(?:\{([^}]*)\}|(\S+))$", author).group(1, 2)[author[-1] != "}"]


def first_author_and_year(entry: str) -> tuple[str, str]:
    return surname(field(entry, "author").split(" and ")[0]), field(entry, "year")


def sources(doc: str) -> set[tuple[str, str]]:
    """First authors and years that a docstring gives as its source."""
    paragraphs = [p for p in re.split(r"\n\s*\n", doc) if re.match(r"Source\b.*?: ", p)]
    return {
        found for paragraph in paragraphs for found in NAMED.findall(" ".join(paragraph.split()))
    }


def documented() -> dict[str, set[tuple[str, str]]]:
    """Public names whose docstring gives a source."""
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(f"jaxfer.{package}")
        for name in module.__all__:
            symbol = getattr(module, name)
            if callable(symbol) and (named := sources(inspect.getdoc(symbol) or "")):
                found[f"{package}.{name}"] = named
    return found


DOCUMENTED = documented()


def test_docstrings_are_read():
    assert DOCUMENTED["adaptation.dann"] == {("Ganin", "2016")}
    assert ("Rahimi", "2007") in DOCUMENTED["divergences.mmd_random_features"]
    assert len(DOCUMENTED) > 80


def test_every_source_of_a_docstring_has_an_entry():
    known = {first_author_and_year(entry) for entry in _entries().values()}
    missing = [
        f"jaxfer.{name} names {author} {year}, which references.bib lacks"
        for name, named in DOCUMENTED.items()
        for author, year in sorted(named - known)
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_method_is_cited_by_its_own_name(package):
    wrong = []
    for name, named in DOCUMENTED.items():
        if name.startswith(f"{package}."):
            try:
                entry = bibtex(name.split(".")[1])
            except ValueError as error:
                wrong.append(f"jaxfer.{name}: {error}")
                continue
            if first_author_and_year(entry) not in named:
                wrong.append(f"jaxfer.{name} gives {entry.splitlines()[0]}, not one of {named}")
    assert not wrong, "\n".join(wrong)


def test_an_entry_has_what_a_bibliography_needs():
    for key, entry in _entries().items():
        assert field(entry, "author"), key
        assert re.fullmatch(r"\{.+\}", field(entry, "title")), key
        assert re.fullmatch(r"(19|20)\d\d", field(entry, "year")), key
        venues = [field(entry, name) for name in ("journal", "booktitle", "publisher", "eprint")]
        assert any(venues), f"{key}: where was it published?"
        if arxiv := field(entry, "eprint"):
            # Numbers have five digits since 2015, and begin with year and month.
            assert re.fullmatch(r"\d{4}\.\d{4,5}", arxiv), key
            assert int(arxiv[:2]) <= int(field(entry, "year")) - 2000, key
        assert entry.count("{") == entry.count("}"), key


def test_no_name_stands_for_two_entries():
    text = "\n".join(_entries().values())
    names = [*_entries(), *", ".join(re.findall(r"^  ids = \{(.*)\},$", text, re.M)).split(", ")]
    assert len(names) == len(set(names))
    assert text.count("\n@") + 1 == len(reference_keys()) == text.count("author = {")


def test_cite_prints_and_bibtex_collects(capsys):
    assert cite("dann") is None
    printed = capsys.readouterr().out
    assert printed.startswith("@article{dann,\n")
    assert "Domain-adversarial training of neural networks" in printed
    assert "ids" not in printed
    assert bibtex("domain_adversarial", "dann") + "\n" == printed
    assert bibtex().count("\n@") + 1 == len(reference_keys())


def test_a_misspelt_name_is_told_its_neighbours():
    with pytest.raises(
        ValueError, match=r"no reference is called 'damn'; nearly so are 'dan', 'dsan', 'dann'"
    ):
        jaxfer.cite("damn")
    with pytest.raises(ValueError, match=r"'zzzzz'; jaxfer.references.reference_keys\(\) lists"):
        cite("zzzzz")


def test_citing_imports_no_jax():
    code = "import sys, jaxfer; jaxfer.cite('maml'); sys.exit('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "@inproceedings{maml," in done.stdout
